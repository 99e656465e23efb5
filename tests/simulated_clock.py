"""In the place of a GPU's clock: kernels are not compiled, and take what is drawn for them."""

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from codegen.cache import Cache, Compiled
from codegen.compile import Job
from codegen.cuda import toolchain
from codegen.cuda.compiler import Compiler
from codegen.tuning.cuda import search
from ir.plan import Cubins, Plan
from tests.uncompiled import nothing, skip_compiling

ARCHES = ("sm_80", "sm_90a")
"""What the compiler, which is none, is able to compile for."""


def drawn(text: str) -> float:
    """Seconds that are always the same for a text."""
    return 1e-3 * (1 + Random(text).random())


def ticking(plan: Plan, directory: Path) -> dict[str, float]:
    """A clock by which every kernel takes what is drawn for its name."""
    for kernel in plan.kernels.values():
        assert isinstance(kernel.code, Cubins)
        assert all((directory / cubin.file).exists() for cubin in kernel.code.binaries.values())
    return {name: drawn(name) for name in plan.kernels}


def made(jobs: Mapping[str, Job], cache: Cache | None) -> dict[str, Compiled]:
    """In the place of `compile_some`."""
    return {key: nothing(*job) for key, job in jobs.items()}


def simulate(patch: pytest.MonkeyPatch) -> None:
    """Let nothing be compiled, neither by builds nor by searches."""
    skip_compiling(patch)
    patch.setattr(search, "compile_some", made)
    patch.setattr(toolchain, "find", lambda: Compiler("fake 1.0", ARCHES))
