"""Which devices a build is for, and the machine code that they run."""

import re
from argparse import ArgumentParser
from collections.abc import Callable
from ctypes import CDLL
from pathlib import Path
from typing import TYPE_CHECKING

from ir.command import Error
from passes.context import MOST
from runtime.cuda.calls import LIBRARY
from runtime.cuda.driver import Driver, Gpu, gpus

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Cpu, Cuda, Target

KINDS = ("cpu", "cuda")
CPU = ("cpu:0", "cpu:1")
ARCH = re.compile(r"sm_\d+[af]?")


# ------------------------------------------------------------------------------- devices


def binding(names: str | None, say: Callable[[str], None]) -> tuple[str, ...]:
    """The physical device of each logical one: those named, else the best two here.

    Says what it chose. Raises Error for names that are no devices, or devices of several kinds.
    """
    if names is not None:
        return _named(names)
    chosen, reason = _chosen()
    say(f"building for {', '.join(chosen)}: {reason}; --devices names others")
    return chosen


def _chosen() -> tuple[tuple[str, ...], str]:
    found = gpus()
    if not found:
        return CPU, _without_gpu()
    names = ", ".join(gpu.name for gpu in found)
    if len(found) == 1:
        return ("cuda:0", "cuda:0"), f"one GPU is here, {names}, for both logical devices"
    return ("cuda:0", "cuda:1"), f"{len(found)} GPUs are here, {names}"


def kind_here() -> str:
    """Of the devices that a build without names takes."""
    return "cuda" if gpus() else "cpu"


def first_gpu() -> Gpu:
    """Of this machine. Raises Error, which says what is missing, where there is none."""
    found = gpus()
    if not found:
        raise Error(f"{_without_gpu()}; expected one to measure, its driver and the extra cuda")
    return found[0]


def _without_gpu() -> str:
    try:
        Driver().close()
    except Error as error:
        if _has_driver():
            return f"an NVIDIA driver is here, but {error}"
    return "no GPU is here"


def _has_driver() -> bool:
    """Whether someone set this machine up for NVIDIA's GPUs."""
    if Path("/proc/driver/nvidia").exists():
        return True
    try:
        CDLL(LIBRARY)
    except OSError:
        return False
    return True


def _named(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        kind, colon, number = name.partition(":")
        if kind not in KINDS or not colon or not number.isdecimal() or int(number) >= MOST:
            expected = " or ".join(f"{kind}:0 to {kind}:{MOST - 1}" for kind in KINDS)
            raise Error(f"--devices: '{name}' is no device; expected {expected}")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise Error(f"--devices: {text} are of several kinds, expected one")
    if len(names) > MOST:
        raise Error(f"--devices: {len(names)} devices, expected at most {MOST}")
    return names


# ------------------------------------------------------------------------------- targets


def target(kind: str, *, arch: str | None, mcpu: str, winograd: str) -> "Target":
    """What to compile for. Raises Error for an option of the other kind, or an unknown machine."""
    if kind == "cpu":
        return cpu_target(arch, mcpu, winograd)
    if mcpu:
        raise Error("--mcpu: is for CPUs, and this build is for GPUs; expected --arch")
    return cuda_target(arch, winograd)


def cpu_target(arch: str | None, mcpu: str, winograd: str) -> "Cpu":
    """A processor. Raises Error for an unknown one, and where a GPU's architecture is named."""
    # It imports the compiler, which takes a second.
    from codegen.targets import cpu

    if arch is not None:
        raise Error("--arch: is for GPUs, and this is for CPUs; expected --devices cuda:0")
    return cpu(mcpu, winograd=winograd)


def cuda_target(arch: str | None, winograd: str) -> "Cuda":
    """GPUs of the architectures named, else of those here. Raises Error."""
    from codegen.targets import cuda

    return cuda(_arches(arch), winograd=winograd)


def add_accuracy(parser: ArgumentParser) -> None:
    """The options of a command that say how far convolutions trade accuracy for speed."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--winograd",
        choices=("none", "mild", "fast"),
        default="fast",
        help="convolutions by minimal filtering: errors of 1e-5 (mild) or 2e-5 (fast, default)",
    )
    exact = "no kernels that trade accuracy for speed, as --winograd none"
    group.add_argument("--exact", dest="winograd", action="store_const", const="none", help=exact)


def _arches(text: str | None) -> tuple[str, ...]:
    """The architectures named, else those of the GPUs here."""
    if text is None:
        found = tuple(dict.fromkeys(gpu.arch for gpu in gpus()))
        if not found:
            raise Error(
                f"{_without_gpu()}; expected --arch, such as sm_80,sm_90a, to build for GPUs"
            )
        return found
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if not ARCH.fullmatch(name):
            raise Error(f"--arch: '{name}' is no architecture; expected such as sm_80 or sm_90a")
    return names
