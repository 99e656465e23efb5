"""The plans made by hand, for GPUs that are simulated: their kernels are NumPy's."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from ir.op import Array
from ir.plan import Cubin, Cubins, Kernel, Launch, Plan
from runtime.binding import bind
from runtime.cuda.driver import Extents, Gpu
from runtime.cuda.executor import CudaExecutor
from tests import learner, plans
from tests.plans import BYTES, SIZE, Tiny, new_folder, sha256, two_devices
from tests.simulated_gpu import Launchable, SimulatedDriver

ARCHES = ("sm_80", "sm_90a")
ONE_EACH, TOGETHER = "cuda:0,cuda:1", "cuda:0,cuda:0"
GPU = Gpu("Simulated", "sm_90a")
HALF = np.float32(0.5)

KERNELS = {**plans.KERNELS, **learner.KERNELS}
IMAGES = {name.encode(): name for name in KERNELS}
SCRATCH = BYTES
SHARED = 120 << 10
"""Bytes that each launch asks for."""


# -------------------------------------------------------------------------------- kernels


def _learn(*given: Array) -> None:
    images, weights, rate, keep, state, speed = given
    at = np.arange(SIZE)
    pixel = images[:SIZE].astype(np.float32) * np.float32(1 / 256) * weights[at % plans.LANES]
    speed[:] = speed * keep[0] + rate[0] * (state - pixel)
    state -= speed


def _measure(*given: Array) -> None:
    images, labels, weights, one, other, loss, top1, top5 = given
    loss[0] = one[0] * one[0] + other[0] * other[0]
    top1[0] = labels[0] * weights[0] * np.float32(1 / 16)
    top5[0] = images[0] * weights[0] * np.float32(1 / 256)


def _descend(weight: Array, gradient: Array) -> None:
    weight[:] = weight * HALF - gradient * np.float32(0.125)


def _add(x: Array, y: Array, out: Array) -> None:
    np.add(x, y, out=out)


FUNCTIONS: dict[str, dict[str, Callable[..., None]]] = {
    # In two launches, so that the scratch is used.
    "add": {"sum": _add, "store": lambda total, out: np.copyto(out, total)},
    "halve": {"halve": lambda x, out: np.multiply(x, HALF, out=out)},
    "descend": {"descend": _descend},
    "learn": {"learn": _learn},
    "measure": {"measure": _measure},
}
PLACES = {"sum": (0, 1, -1), "store": (-1, 2)}


def modules(image: bytes) -> Mapping[str, Launchable]:
    """What a binary of these plans holds."""
    name = IMAGES[image]
    return {symbol: _launchable(name, symbol) for symbol in FUNCTIONS[name]}


def _launchable(name: str, symbol: str) -> Launchable:
    operands = KERNELS[name].operands
    kinds = [*((count, dtype) for count, dtype, _ in operands), (SCRATCH // 4, "float32")]
    taken = [kinds[place] for place in _places(symbol, len(operands))]

    def launch(grid: Extents, block: Extents, given: Sequence[int], *, shared: int) -> None:
        assert shared == SHARED
        arrays = [_at(p, *kind) for p, kind in zip(given, taken, strict=True)]
        FUNCTIONS[name][symbol](*arrays)

    return launch


def _places(symbol: str, count: int) -> tuple[int, ...]:
    return PLACES.get(symbol, tuple(range(count)))


def _at(pointer: int, count: int, dtype: str) -> Array:
    """Memory as an array."""
    found: Any = np.ctypeslib.as_array(
        (np.ctypeslib.as_ctypes_type(dtype) * count).from_address(pointer)
    )
    return found  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------- plans


@lru_cache(maxsize=1)
def folder() -> Path:
    """Where the binaries lie."""
    made = new_folder()
    (made / "lib").mkdir()
    for image, name in IMAGES.items():
        for arch in ARCHES:
            (made / f"lib/{name}.{arch}.cubin").write_bytes(image)
    return made


def _kernel(name: str, tiny: Tiny, record: Kernel) -> Kernel:
    launches = tuple(
        Launch(
            symbol=symbol,
            grid=(1, 1, 1),
            block=(32, 1, 1),
            arguments=_places(symbol, len(tiny.operands)),
            shared=0,
            dynamic=SHARED,
            registers=16,
        )
        for symbol in FUNCTIONS[name]
    )
    files = {arch: f"lib/{name}.{arch}.cubin" for arch in ARCHES}
    scratch = SCRATCH if name == "add" else 0
    cubins = {
        arch: Cubin(file, sha256(folder() / file), launches, scratch)
        for arch, file in files.items()
    }
    return replace(record, code=Cubins(cubins))


def on_gpus(plan: Plan, binding: str = ONE_EACH) -> Plan:
    """A plan for CPUs as one for GPUs."""
    kernels = {name: _kernel(name, KERNELS[name], each) for name, each in plan.kernels.items()}
    names = tuple(binding.split(","))
    return replace(plan, kernels=kernels, binding=names, library={}, target={"kind": "cuda"})


def simulated(gpus: int = 2, **options: Any) -> SimulatedDriver:
    """GPUs that run these kernels."""
    return SimulatedDriver(modules, [GPU] * gpus, **options)


def opened(
    plan: Plan | None = None, *, binding: str = ONE_EACH, driver: SimulatedDriver | None = None
) -> CudaExecutor:
    """An executor of one of these plans, `two_devices()` unless told otherwise."""
    made = on_gpus(plan or two_devices())
    return CudaExecutor(made, folder(), bind(made, binding), driver or simulated())
