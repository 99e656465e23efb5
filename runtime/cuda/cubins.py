"""A plan's kernels, loaded onto the GPUs it is bound to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ir.command import Error
from ir.plan import Cubin, Cubins, Launch, Plan
from ir.plan.cubins import shared_limit
from runtime.cuda.driver import Driver, Function, Gpu
from runtime.verify import verified


@dataclass(frozen=True)
class Loaded:
    """A launch and its function on one GPU."""

    launch: Launch
    function: Function


Kernels = dict[str, list[Loaded]]
"""The launches of each kernel of a plan, on one GPU."""


def load(driver: Driver, plan: Plan, directory: Path, gpu: int) -> Kernels:
    """Raises Error for files that are not the plan's, and none of which suits the GPU."""
    return {
        name: _kernel(driver, name, kernel.code, directory, gpu)
        for name, kernel in plan.kernels.items()
        if isinstance(kernel.code, Cubins)
    }


def _kernel(driver: Driver, name: str, code: Cubins, directory: Path, gpu: int) -> list[Loaded]:
    found = driver.gpu(gpu)
    arch = choose(found.arch, code.binaries)
    if arch is None:
        raise Error(
            f"cuda:{gpu} is {found.name}, {found.arch}; the plan was built for "
            f"{', '.join(sorted(code.binaries))}; build it with --arch {found.arch}"
        )
    cubin = code.binaries[arch]
    path = verified(directory / cubin.file, cubin.sha256)
    asked = _asked(cubin)
    _require_shared(name, cubin, found, gpu)
    try:
        functions = driver.load(gpu, path.read_bytes(), list(asked))
        for symbol, shared in asked.items():
            if shared:
                driver.permit(functions[symbol], shared)
    except Error as error:
        raise Error(f"{path}: cannot be loaded onto cuda:{gpu}: {error}") from error
    return [Loaded(launch, functions[launch.symbol]) for launch in cubin.launches]


def _asked(cubin: Cubin) -> dict[str, int]:
    """The functions in the order of their launches, with the shared bytes asked for at most."""
    found: dict[str, int] = {}
    for launch in cubin.launches:
        found[launch.symbol] = max(found.get(launch.symbol, 0), launch.dynamic)
    return found


def _require_shared(name: str, cubin: Cubin, found: Gpu, gpu: int) -> None:
    """Raise Error for a kernel that another GPU of the generation has the shared memory for."""
    takes = max(launch.shared + launch.dynamic for launch in cubin.launches)
    if takes > shared_limit(found.arch):
        raise Error(
            f"cuda:{gpu} is {found.name}, {found.arch}, with {shared_limit(found.arch):,} bytes of "
            f"shared memory for a block; kernel {name} takes {takes:,}; build the plan with "
            f"--arch {found.arch}"
        )


def choose(arch: str, held: Iterable[str]) -> str | None:
    """The best of some architectures that runs on a GPU of another or the same one, if any.

    What ends in "a" runs on that very GPU only, the rest on all later ones of its generation.
    """
    major, minor, _ = _parsed(arch)
    ranked = sorted(
        (suffix == "a", lesser, suffix, each)
        for each in held
        for generation, lesser, suffix in [_parsed(each)]
        if generation == major and (lesser == minor if suffix == "a" else lesser <= minor)
    )
    return ranked[-1][-1] if ranked else None


def _parsed(arch: str) -> tuple[int, int, str]:
    """Generation, number within it, suffix."""
    found = re.fullmatch(r"sm_(\d+)(\d)([af]?)", arch)
    if found is None:
        raise Error(f"unknown architecture '{arch}', expected one such as sm_80 or sm_90a")
    return int(found[1]), int(found[2]), found[3]
