"""The laws of kernels for NVIDIA GPUs: binaries, launches and what these get."""

import re
from math import prod

from ir.plan.bounds import MOST_BYTES, Complaints, at_least, named
from ir.plan.records import ITEM_BYTES, Cubin, Cubins, Kernel, Launch, Plan, TensorMap

GRID, BLOCK = (2**31 - 1, 2**16 - 1, 2**16 - 1), (1024, 1024, 64)
"""CUDA's limits along x, y and z: blocks of a launch, threads of a block."""
THREADS, REGISTERS = 1024, 255
"""And in all: threads of a block, registers of a thread."""
_SMALL = {"75": 64, "80": 163, "86": 99, "87": 163, "88": 99, "89": 99, "120": 99, "121": 99}
"""KiB of shared memory that a block may have, by architecture, where that is not MOST_SHARED."""
MOST_SHARED = 227 * 1024
RANK, EXTENT, STRIDE, BOX = 5, 2**32, 2**40, 256
"""Limits of tensor maps: axes, elements and bytes along an axis, elements of a box along one."""
UNIT = 16
"""Bytes that strides and lines of boxes are multiples of."""
SWIZZLES = (0, 32, 64, 128)


def complaints(path: str, kernel: Kernel, code: Cubins) -> Complaints:
    """No binaries, or some beyond the limits of their architectures."""
    if not code.binaries:
        yield f"{path}.binaries: empty, expected one for at least one architecture"
    for arch, cubin in code.binaries.items():
        if not re.fullmatch(r"sm_\d+[af]?", arch):
            yield f"{path}.binaries: got '{arch}', expected architectures such as sm_80 or sm_90a"
        yield from _cubin(f"{path}.binaries.{arch}", kernel, cubin, arch)


def _cubin(path: str, kernel: Kernel, cubin: Cubin, arch: str) -> Complaints:
    yield from at_least(f"{path}.scratch", cubin.scratch, 0, MOST_BYTES)
    if not cubin.launches:
        yield f"{path}.launches: empty, expected at least one"
    for number, launch in enumerate(cubin.launches):
        yield from _launch(f"{path}.launches[{number}]", launch)
        yield from _shared(f"{path}.launches[{number}]", launch, arch)
        yield from _passed(f"{path}.launches[{number}].arguments", launch, kernel, cubin)
    passed = {place for launch in cubin.launches for place in launch.places}
    for place, argument in enumerate(kernel.arguments):
        if argument.access != "read" and place not in passed:
            yield f"{path}.launches: none gets argument {place}, expected one that writes it"


def _launch(path: str, launch: Launch) -> Complaints:
    yield from named(f"{path}.symbol", launch.symbol)
    for axis, (blocks, threads) in enumerate(zip(launch.grid, launch.block, strict=True)):
        yield from at_least(f"{path}.grid[{axis}]", blocks, 1, GRID[axis])
        yield from at_least(f"{path}.block[{axis}]", threads, 1, BLOCK[axis])
    if prod(launch.block) > THREADS:
        yield f"{path}.block: {prod(launch.block)} threads, expected at most {THREADS}"
    yield from at_least(f"{path}.shared", launch.shared, 0)
    yield from at_least(f"{path}.dynamic", launch.dynamic, 0)
    yield from at_least(f"{path}.registers", launch.registers, 0, REGISTERS)


def shared_limit(arch: str) -> int:
    """Bytes of shared memory that a block may have on an architecture such as sm_80."""
    kib = _SMALL.get(arch.removeprefix("sm_").rstrip("af"))
    return MOST_SHARED if kib is None else kib * 1024


def _shared(path: str, launch: Launch, arch: str) -> Complaints:
    got, most = launch.shared + launch.dynamic, shared_limit(arch)
    if got > most:
        yield f"{path}: {got} shared bytes, expected at most {most} on {arch}"


def alike(plan: Plan) -> Complaints:
    """Kernels for other architectures than the first one's: a device runs all or none."""
    first: set[str] | None = None
    for name, kernel in plan.kernels.items():
        if isinstance(kernel.code, Cubins):
            found = set(kernel.code.binaries)
            first = first or found
            if found != first:
                expected = ", ".join(sorted(first))
                yield f"$.kernels.{name}.code.binaries: expected {expected} as other kernels have"


# ---------------------------------------------------------------------------- arguments


def _passed(path: str, launch: Launch, kernel: Kernel, cubin: Cubin) -> Complaints:
    least = -1 if cubin.scratch else 0
    for number, given in enumerate(launch.arguments):
        if isinstance(given, TensorMap):
            yield from _map(f"{path}[{number}]", given, kernel)
        else:
            yield from at_least(f"{path}[{number}]", given, least, len(kernel.arguments) - 1)


def _map(path: str, map: TensorMap, kernel: Kernel) -> Complaints:
    rank = len(map.extents)
    yield from at_least(f"{path}.argument", map.argument, 0, len(kernel.arguments) - 1)
    yield from at_least(f"{path}.extents: axes", rank, 1, RANK)
    for axis, extent in enumerate(map.extents):
        yield from at_least(f"{path}.extents[{axis}]", extent, 1, EXTENT)
    for axis, stride in enumerate(map.strides):
        yield from at_least(f"{path}.strides[{axis}]", stride, UNIT, STRIDE - UNIT)
        if stride % UNIT:
            yield f"{path}.strides[{axis}]: got {stride}, expected a multiple of {UNIT} bytes"
    for axis, extent in enumerate(map.box):
        yield from at_least(f"{path}.box[{axis}]", extent, 1, BOX)
    if len(map.strides) != rank - 1 or len(map.box) != rank:
        got = f"{len(map.strides)} strides and {len(map.box)} extents of a box"
        yield f"{path}: {got}, expected {rank - 1} and {rank}"
    elif 0 <= map.argument < len(kernel.arguments):
        yield from _fits(path, map, kernel)


def _fits(path: str, map: TensorMap, kernel: Kernel) -> Complaints:
    """The array inside its argument, lines of a box as they are swizzled."""
    argument = kernel.arguments[map.argument]
    item = ITEM_BYTES[argument.dtype]
    strides = (item, *map.strides)
    end = item + sum((e - 1) * stride for e, stride in zip(map.extents, strides, strict=True))
    if end > argument.bytes:
        yield f"{path}: ends at byte {end}, expected at most {argument.bytes} of its argument"
    if argument.access != "read":
        yield f"{path}: of an argument that is written, expected one that is read"
    if map.swizzle not in SWIZZLES:
        yield f"{path}.swizzle: got {map.swizzle}, expected one of {SWIZZLES}"
    line = map.box[0] * item
    if line % UNIT or (map.swizzle and line > map.swizzle):
        most = f", at most {map.swizzle}" if map.swizzle else ""
        yield f"{path}.box[0]: {line} bytes, expected a multiple of {UNIT}{most}"
