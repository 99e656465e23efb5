"""From a kernel to CUDA C, as TVM prints it, and its launches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import tirx

from codegen.cuda.source import Function, functions, shortened
from codegen.kernels.cuda.writer import Built
from codegen.region import buffers
from codegen.targets import Cuda
from ir.command import Error
from ir.graph import Graph
from ir.plan import Launch, TensorMap

SCRATCH = -1

PASSES = {
    # Loops marked as unrolled stay loops in the text; the CUDA compiler unrolls them.
    "tirx.UnrollLoop": {"explicit_unroll": False},
    # It finds common expressions too.
    "tirx.disable_cse_tir": True,
}

DYNAMIC = "shared.dyn"
"""The kind of memory of an array whose bytes are asked for at each launch."""

Extents = dict[str, int]
"""Of one launch, by TVM's names such as blockIdx.x, and the bytes of its arrays in DYNAMIC."""


@dataclass(frozen=True)
class Generated:
    """CUDA C and its launches. What a launch takes is known once compiled, and 0 here."""

    text: str
    launches: tuple[Launch, ...]


def generated(built: Built, region: Graph, target: Cuda) -> Generated:
    """CUDA C for the kernel of a region.

    Raises Error where TVM refuses it, where any of it would run on the host, and where an output
    is never passed to a launch.
    """
    text, places = _cuda_c(built.function, target), _places(region)
    given = places | {f"map_{number}": map for number, map in enumerate(built.maps)}
    called = _called(text, list(_extents(built.function)))
    launches = tuple(_launch(function, extents, given) for function, extents in called)
    _require_outputs(region, launches, places)
    return Generated(text, launches)


def _cuda_c(kernel: Any, target: Cuda) -> str:
    # Where a driver is installed TVM would compile the text, in its own way.
    tvm.register_global_func("tvm_callback_cuda_compile", lambda code: b"", override=True)
    try:
        with tvm.transform.PassContext(config=PASSES):
            made = tvm.compile(tvm.IRModule({"kernel": kernel}), target=target.tvm())
    except Exception as error:
        # Whatever TVM raises, the caller says which kernel it was.
        raise Error(f"TVM refuses the kernel: {error}") from None
    if not made.mod.imports:
        raise Error("TVM made no code for the GPU, expected CUDA C")
    text = made.mod.imports[0].inspect_source("cuda")
    return shortened(text, noalias=bool(kernel.attrs["tirx.noalias"]))


# ---------------------------------------------------------------------------- launches


def _extents(kernel: Any) -> Iterator[Extents]:
    """The launches of a PrimFunc. Raises Error for anything beside, which the host would do."""
    body = kernel.body
    while isinstance(body, tirx.AttrStmt) and str(body.attr_key).startswith("device_"):
        body = body.body
    for statement in body.seq if isinstance(body, tirx.SeqStmt) else [body]:
        extents = {}
        while isinstance(statement, tirx.AttrStmt) and statement.attr_key == "thread_extent":
            extents[str(statement.node.thread_tag)] = int(statement.value)
            statement = statement.body
        if not extents:
            raise Error("the kernel does something on the host, expected launches only")
        yield extents | {DYNAMIC: _dynamic(statement)}


def _dynamic(body: Any) -> int:
    """Bytes of all arrays in DYNAMIC."""
    arrays = [each.buffer for each in _statements(body) if isinstance(each, tirx.AllocBuffer)]
    return sum(
        prod(map(int, array.shape)) * tvm.DataType(array.dtype).itemsize
        for array in arrays
        if array.scope() == DYNAMIC
    )


def _statements(body: Any) -> Iterator[Any]:
    yield body
    parts = (getattr(body, name, None) for name in ("body", "then_case", "else_case"))
    for part in (*parts, *getattr(body, "seq", ())):
        if part is not None:
            yield from _statements(part)


def _called(text: str, launches: list[Extents]) -> list[tuple[Function, Extents]]:
    """Each launch with its function: TVM numbers them in the order of the launches."""
    found = functions(text)
    symbols = ["kernel_kernel", *(f"kernel_kernel_{place}" for place in range(1, len(launches)))]
    if set(found) != set(symbols):
        raise Error(f"TVM made {', '.join(found) or 'nothing'}, expected {', '.join(symbols)}")
    return [(found[symbol], extents) for symbol, extents in zip(symbols, launches, strict=True)]


def _launch(function: Function, extents: Extents, given: Mapping[str, int | TensorMap]) -> Launch:
    unknown = sorted(set(function.parameters) - set(given))
    if unknown:
        got, expected = ", ".join(unknown), ", ".join(given)
        raise Error(f"{function.symbol} takes {got}, expected some of {expected}")
    return Launch(
        symbol=function.symbol,
        grid=_xyz(extents, "blockIdx"),
        block=_xyz(extents, "threadIdx"),
        arguments=tuple(given[name] for name in function.parameters),
        shared=0,
        dynamic=extents[DYNAMIC],
        registers=0,
    )


def _xyz(extents: Extents, index: str) -> tuple[int, int, int]:
    x, y, z = (extents.get(f"{index}.{axis}", 1) for axis in "xyz")
    return x, y, z


def _places(region: Graph) -> dict[str, int]:
    """Where a parameter is among the arguments of the kernel's record, by its name."""
    places = {node.name: place for place, node in enumerate(buffers(region))}
    return {"scratch": SCRATCH} | places


def _require_outputs(
    region: Graph, launches: tuple[Launch, ...], places: Mapping[str, int]
) -> None:
    passed = {place for launch in launches for place in launch.places}
    for node in (*region.leaves("state"), *region.outputs):
        if places[node.name] not in passed:
            raise Error(f"no launch gets '{node.name}', expected one that writes it")
