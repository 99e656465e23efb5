"""A plan's kernels, loaded onto the GPUs it is bound to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ir.command import Error
from ir.plan import Cubins, Launch, Plan
from runtime.cuda.driver import Driver, Function
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
        name: _kernel(driver, kernel.code, directory, gpu)
        for name, kernel in plan.kernels.items()
        if isinstance(kernel.code, Cubins)
    }


def _kernel(driver: Driver, code: Cubins, directory: Path, gpu: int) -> list[Loaded]:
    found = driver.gpu(gpu)
    arch = choose(found.arch, code.files)
    if arch is None:
        raise Error(
            f"cuda:{gpu} is {found.name}, {found.arch}; the plan was built for "
            f"{', '.join(sorted(code.files))}; build it with --arch {found.arch}"
        )
    binary = code.files[arch]
    path = verified(directory / binary.file, binary.sha256)
    symbols = list(dict.fromkeys(launch.symbol for launch in code.launches))
    try:
        functions = driver.load(gpu, path.read_bytes(), symbols)
    except Error as error:
        raise Error(f"{path}: cannot be loaded onto cuda:{gpu}: {error}") from error
    return [Loaded(launch, functions[launch.symbol]) for launch in code.launches]


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
