"""The laws of what runs on a device: the binding, the kernels and the files these lie in."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

from ir.plan.bounds import MOST_BYTES, Complaints, at_least
from ir.plan.records import ITEM_BYTES, Cubins, Kernel, Launch, Library, Plan, Speeds, Work

CODE = {"cpu": Library, "cuda": Cubins}
"""What runs on which kind of device."""
GRID, BLOCK = (2**31 - 1, 2**16 - 1, 2**16 - 1), (1024, 1024, 64)
"""CUDA's limits along x, y and z: blocks of a launch, threads of a block."""
THREADS, REGISTERS = 1024, 255
"""And in all: threads of a block, registers of a thread."""
_SMALL = {"75": 64, "80": 163, "86": 99, "87": 163, "88": 99, "89": 99, "120": 99, "121": 99}
"""KiB of shared memory that a block may have, by architecture, where that is not MOST_SHARED."""
MOST_SHARED = 227 * 1024


def complaints(plan: Plan) -> Complaints:
    """A binding to devices of several kinds; kernels for another kind, or beyond its limits."""
    yield from _binding(plan)
    kind = plan.binding[0].partition(":")[0]
    if kind == "cpu" and plan.kernels and not plan.library:
        yield "$.library: empty, expected what the kernels need to run"
    for name, kernel in plan.kernels.items():
        yield from _kernel(f"$.kernels.{name}", kernel, kind)
    yield from _architectures(plan)
    yield from _speeds(plan.predicted)


def _speeds(speeds: Speeds) -> Complaints:
    for name in ("near", "far", "link"):
        if getattr(speeds, name) <= 0:
            yield f"$.predicted.{name}: got {getattr(speeds, name)}, expected more than 0"
    for name in (*Work.__struct_fields__, "cache", "launch"):
        yield from at_least(f"$.predicted.{name}", getattr(speeds, name), 0)


def _binding(plan: Plan) -> Complaints:
    for number, name in enumerate(plan.binding):
        if not re.fullmatch(rf"({'|'.join(CODE)}):\d{{1,4}}", name):
            yield f"$.binding[{number}]: got '{name}', expected a device such as cpu:0 or cuda:0"
    if len({name.partition(":")[0] for name in plan.binding}) > 1:
        yield f"$.binding: got {', '.join(plan.binding)}, expected devices of one kind"


def _kernel(path: str, kernel: Kernel, kind: str) -> Complaints:
    yield from at_least(f"{path}.flops", kernel.flops, 0)
    yield from at_least(f"{path}.moved", kernel.moved, 0)
    for name in Work.__struct_fields__:
        yield from at_least(f"{path}.work.{name}", getattr(kernel.work, name), 0)
    for number, argument in enumerate(kernel.arguments):
        yield from at_least(f"{path}.arguments[{number}].bytes", argument.bytes, 1, MOST_BYTES)
        if argument.bytes % ITEM_BYTES[argument.dtype]:
            got, of = argument.bytes, argument.dtype
            yield f"{path}.arguments[{number}].bytes: got {got}, expected whole elements of {of}"
    yield from at_least(f"{path}.code.scratch", kernel.code.scratch, 0, MOST_BYTES)
    if not isinstance(kernel.code, CODE[kind]):
        yield f"{path}.code: cannot run on {kind} devices, to which the plan is bound"
    elif isinstance(kernel.code, Cubins):
        yield from _cubins(f"{path}.code", kernel, kernel.code)
    else:
        yield from _library(f"{path}.code", kernel.code)


def _library(path: str, code: Library) -> Complaints:
    yield from at_least(f"{path}.per_thread", code.per_thread, 0, MOST_BYTES)
    yield from _symbol(path, code.symbol)


def _symbol(path: str, symbol: str) -> Complaints:
    if not symbol:
        yield f"{path}.symbol: empty, expected the name of a function"


# -------------------------------------------------------------------------------- GPUs


def _cubins(path: str, kernel: Kernel, code: Cubins) -> Complaints:
    if not code.files:
        yield f"{path}.files: empty, expected a binary for at least one architecture"
    for arch in code.files:
        if not re.fullmatch(r"sm_\d+[af]?", arch):
            yield f"{path}.files: got '{arch}', expected architectures such as sm_80 or sm_90a"
    if not code.launches:
        yield f"{path}.launches: empty, expected at least one"
    for number, launch in enumerate(code.launches):
        yield from _launch(f"{path}.launches[{number}]", launch)
        yield from _shared(f"{path}.launches[{number}]", launch, code.files)
        yield from _passed(f"{path}.launches[{number}].arguments", launch, kernel)
    passed = {place for launch in code.launches for place in launch.arguments}
    for place, argument in enumerate(kernel.arguments):
        if argument.access != "read" and place not in passed:
            yield f"{path}.launches: none gets argument {place}, expected one that writes it"


def _launch(path: str, launch: Launch) -> Complaints:
    yield from _symbol(path, launch.symbol)
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


def _shared(path: str, launch: Launch, arches: Iterable[str]) -> Complaints:
    for arch in arches:
        if launch.shared + launch.dynamic > shared_limit(arch):
            got, most = launch.shared + launch.dynamic, shared_limit(arch)
            yield f"{path}: {got} shared bytes, expected at most {most} on {arch}"


def _passed(path: str, launch: Launch, kernel: Kernel) -> Complaints:
    least = -1 if kernel.code.scratch else 0
    for number, place in enumerate(launch.arguments):
        yield from at_least(f"{path}[{number}]", place, least, len(kernel.arguments) - 1)


def _architectures(plan: Plan) -> Complaints:
    """A device runs all kernels or none."""
    first: set[str] | None = None
    for name, kernel in plan.kernels.items():
        if isinstance(kernel.code, Cubins):
            found = set(kernel.code.files)
            first = first or found
            if found != first:
                expected = ", ".join(sorted(first))
                yield f"$.kernels.{name}.code.files: expected {expected} as the other kernels have"


# -------------------------------------------------------------------------------- files


def missing(plan: Plan, directory: Path) -> Complaints:
    """Files that lie outside the plan's folder, are not there or have another content."""
    for path, file, sha256 in _files(plan):
        inside = Path(file)
        if inside.is_absolute() or ".." in inside.parts or "\0" in file:
            yield f"{path}: '{file}' lies outside the plan's folder, expected a file in lib/"
        elif complaint := _file(directory / inside, sha256):
            yield f"{path}: {complaint}"


def _files(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(JSON path, file, sha256)"""
    yield from ((f"$.library.{file}", file, sha) for file, sha in plan.library.items())
    for name, kernel in plan.kernels.items():
        path, code = f"$.kernels.{name}.code", kernel.code
        if isinstance(code, Library):
            yield f"{path}.file", code.file, code.sha256
        else:
            yield from ((f"{path}.files.{a}.file", b.file, b.sha256) for a, b in code.files.items())


def _file(path: Path, sha256: str) -> str | None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"'{path}' cannot be read: {error.strerror}"
    return None if found == sha256 else f"'{path}' has sha256 {found}, expected {sha256}"
