"""The laws of what runs on a device: the binding, the kernels and the files these lie in."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from ir.plan import cubins
from ir.plan.bounds import MOST_BYTES, Complaints, at_least, named
from ir.plan.records import ITEM_BYTES, Cubins, Kernel, Library, Plan, Speeds, Work

CODE = {"cpu": Library, "cuda": Cubins}
"""What runs on which kind of device."""


def complaints(plan: Plan) -> Complaints:
    """A binding to devices of several kinds; kernels for another kind, or beyond its limits."""
    yield from _binding(plan)
    kind = plan.binding[0].partition(":")[0]
    if kind == "cpu" and plan.kernels and not plan.library:
        yield "$.library: empty, expected what the kernels need to run"
    for name, kernel in plan.kernels.items():
        yield from _kernel(f"$.kernels.{name}", kernel, kind)
    yield from cubins.alike(plan)
    yield from _speeds(plan.predicted)


def _speeds(speeds: Speeds) -> Complaints:
    for name in ("near", "far", "link"):
        if getattr(speeds, name) <= 0:
            yield f"$.predicted.{name}: got {getattr(speeds, name)}, expected more than 0"
    for name in (*Work.__struct_fields__, "cache", "launch"):
        yield from at_least(f"$.predicted.{name}", getattr(speeds, name), 0)
    yield from at_least("$.predicted.processors", speeds.processors, 1)


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
        yield from cubins.complaints(f"{path}.code", kernel, kernel.code)
    else:
        yield from _library(f"{path}.code", kernel.code)


def _library(path: str, code: Library) -> Complaints:
    yield from at_least(f"{path}.per_thread", code.per_thread, 0, MOST_BYTES)
    yield from named(f"{path}.symbol", code.symbol)


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
            for arch, cubin in code.binaries.items():
                yield f"{path}.binaries.{arch}.file", cubin.file, cubin.sha256


def _file(path: Path, sha256: str) -> str | None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"'{path}' cannot be read: {error.strerror}"
    return None if found == sha256 else f"'{path}' has sha256 {found}, expected {sha256}"
