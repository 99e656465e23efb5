"""Threads of GPU kernels that have several lanes: what machine code they become, and any batch."""

import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codegen.cuda import cubins, disassembler, emulator
from codegen.cuda.generated import Generated, generated
from codegen.kernels import build
from codegen.kernels.cuda.writer import Built
from codegen.targets import Cuda, cuda
from ir.command import Error
from ir.graph import Graph, Node, Pair
from ir.ops import apply
from ir.text import parse
from ir.type import DType, TensorType
from tests.counts import cases, sampled
from tests.graphs import SEEDS
from tests.kernels import as_region
from tests.operands import random_values
from tests.region_cases import draw_region
from tests.test_cuda_bf16 import check as check_rounded
from tests.test_cuda_kernels import check, launches
from tests.test_kernels import BOUND
from tests.test_tensor_code import compiled
from tests.test_tensor_cores import disassembled

NORM: dict[str, Any] = {"size": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75}
POOL: dict[str, Any] = {"window": (3, 3), "stride": (2, 2)}
Program = Callable[[DType], Graph]
emulated = pytest.mark.skipif(not emulator.available(), reason="no C++ compiler to run CUDA C")


def leaf(name: str, dtype: DType, *shape: int, op: str = "input") -> Node:
    return apply(op, name=name, type=TensorType(shape, dtype))


def forward(dtype: DType) -> Graph:
    """A norm and a pool; both are stored."""
    x = leaf("x", dtype, 64, 32, 27, 27)
    y = apply("lrn", x, name="y", groups=2, **NORM)
    z = apply("max_pool", y, name="z", **POOL)
    return Graph("forward", (x, y, z), (y, z))


def backward(dtype: DType) -> Graph:
    """Their adjoints, and that of a relu before them."""
    x, y = (leaf(name, dtype, 64, 32, 27, 27) for name in "xy")
    dz = leaf("dz", dtype, 64, 32, 13, 13)
    dy = apply("max_pool_dx", y, dz, name="dy", **POOL)
    dx = apply("lrn_dx", x, dy, name="dx", groups=2, **NORM)
    masked = apply("relu_dx", x, dx, name="masked")
    return Graph("backward", (x, y, dz, dy, dx, masked), (masked,))


def alone(op: str, *operands: str, **attrs: Any) -> Program:
    """An op of values of one shape, and of scalars by their type."""

    def program(dtype: DType) -> Graph:
        leaves = [leaf(name, dtype, 64, 16, 9, 9) for name in operands]
        scalars = [leaf(name, DType.U32) for name in ("seed", "step") if op == "dropout"]
        y = apply(op, *leaves, *scalars, name="y", **attrs)
        return Graph("alone", (*leaves, *scalars, y), (y,))

    return program


def unpooled(dtype: DType) -> Graph:
    """The adjoint of a pool, and that of a relu before it."""
    y, dz = leaf("y", dtype, 64, 16, 27, 27), leaf("dz", dtype, 64, 16, 13, 13)
    dy = apply("max_pool_dx", y, dz, name="dy", **POOL)
    return Graph("unpooled", (y, dz, dy, dx := apply("relu_dx", y, dy, name="dx")), (dx,))


def update(dtype: DType) -> Graph:
    """Of a weight; in bf16 it has a copy."""
    weight, velocity = (leaf(name, DType.F32, 256, 64, op="state") for name in "wv")
    g = leaf("g", DType.F32, 256, 64)
    scalars = [leaf(name, DType.F32) for name in ("rate", "momentum", "decay")]
    faster = apply("sgd_velocity", velocity, weight, g, *scalars, name="faster", decay_by=1.0)
    moved = apply("sgd_weight", weight, faster, scalars[0], name="moved")
    nodes, pairs = (weight, velocity, g, *scalars, faster, moved), [Pair(velocity, faster)]
    pairs.append(Pair(weight, moved))
    if dtype is DType.BF16:
        copy = leaf("copy", dtype, 256, 64, op="state")
        nodes = copy, *nodes, apply("cast", moved, name="rounded", to="bf16")
        pairs.append(Pair(copy, nodes[-1]))
    return Graph("update", nodes, (), updates=tuple(pairs))


def mask(dtype: DType) -> Graph:
    """What is done to a gradient alone."""
    y, dy = (leaf(name, dtype, 64, 16, 5, 5) for name in ("y", "dy"))
    return Graph("mask", (y, dy, dx := apply("relu_dx", y, dy, name="dx")), (dx,))


def summed(dtype: DType) -> Graph:
    """A sum over images."""
    dy = leaf("dy", dtype, 64, 16, 27, 27)
    return Graph("sum", (dy, db := apply("bias_dw", dy, name="db", rank=1)), (db,))


F32, BF16 = DType.F32, DType.BF16
WIDTHS: list[tuple[Program, DType, set[str], set[str]]] = [
    (forward, F32, {"128"}, {"128"}),
    (forward, BF16, {"128"}, {"128"}),
    (backward, F32, {"128"}, {"128"}),
    # The norm's threads have four lanes, as its terms take many registers.
    (backward, BF16, {"128", "64"}, {"64"}),
    (mask, F32, {"128"}, {"128"}),
    (mask, BF16, {"128"}, {"128"}),
    # Rates are scalars.
    (update, F32, {"128", "32"}, {"128"}),
    (update, BF16, {"128", "32"}, {"128", "64"}),
]
WIDTHS += [
    (program, dtype, {"128"}, {"128"})
    for program in (
        alone("lrn", "x", **NORM),
        alone("max_pool", "x", **POOL),
        alone("avg_pool", "x", **POOL),
        alone("tanh", "x"),
        alone("slice", "x", axis=1, start=3, size=8),
        alone("concat", "a", "b", axis=1),
        unpooled,
    )
    for dtype in (F32, BF16)
]
# The seed and the step are scalars, too.
WIDTHS += [
    (alone("dropout", "x", p=0.5, stream=0), each, {"128", "32"}, {"128"}) for each in (F32, BF16)
]
"""Bits of the loads and stores of a program."""


def made(graph: Graph, arch: str) -> tuple[Built, Generated]:
    """Its kernel and CUDA C."""
    region, target = as_region(graph).graph, Cuda(winograd="none", arches=(arch,), compiler="")
    built = build(region, target)
    assert isinstance(built, Built)
    return built, generated(built, region, target)


def accesses(opcodes: dict[str, int], memory: str) -> set[str]:
    """How many bits the instructions for a kind of memory have, such as LDG."""
    found = (re.fullmatch(rf"{memory}(?:\.E)?(?:\.(\d+))?(?:\..*)?", each) for each in opcodes)
    return {match[1] or "32" for match in found if match}


@disassembled
@pytest.mark.parametrize("arch", sampled(("sm_80", "sm_90a"), "sm_90a"))
@pytest.mark.parametrize(("program", "dtype", "loads", "stores"), WIDTHS)
def test_rows_are_read_and_written_in_vectors(
    program: Program, dtype: DType, loads: set[str], stores: set[str], arch: str
) -> None:
    """In one launch, with everything in registers. Shared memory is met in the same vectors, for it
    holds elements of the type."""
    built, source = made(program(dtype), arch)
    assert len(built.launches) == 1
    assert built.scratch == 0
    binary = compiled(source.text, arch)
    ((symbol, needs),) = binary.functions.items()
    assert (needs.stack, needs.spills) == (0, 0)
    opcodes = disassembler.opcodes(binary.cubin)[symbol]
    assert accesses(opcodes, "LDG") == loads
    assert accesses(opcodes, "STG") == stores
    assert accesses(opcodes, "LDS") | accesses(opcodes, "STS") <= loads


@disassembled
def test_bf16_is_rounded_once_and_by_pairs() -> None:
    """A maximum is a bf16 number already; eight lanes of a thread go to memory as four pairs."""
    _, source = made(alone("max_pool", "x", **POOL)(BF16), "sm_90a")
    (opcodes,) = disassembler.opcodes(compiled(source.text, "sm_90a").cubin).values()
    assert sum(count for opcode, count in opcodes.items() if opcode.startswith("F2FP")) == 4


@disassembled
@pytest.mark.parametrize("op", sampled(["lrn", "lrn_dx"], "lrn_dx"))
@pytest.mark.parametrize("size", sampled((5, 9, 12, 13, 20), 12))
def test_norms_of_wide_windows_stay_in_registers(op: str, size: int) -> None:
    """Threads have fewer maps then, or fewer lanes; the build refuses what spills."""
    x, dy = (leaf(name, BF16, 64, 32, 5, 5) for name in ("x", "dy"))
    operands = (x, dy)[: 1 + op.endswith("dx")]
    norm = apply(op, *operands, name="y", **NORM | {"size": size})
    graph = Graph("norm", (*operands, norm), (norm,))
    assert cubins.compiled(as_region(graph).graph, cuda(("sm_90a",))).variants


@disassembled
@pytest.mark.parametrize(("dtype", "bits"), [(F32, "128"), (BF16, "64")])
def test_sums_over_images_read_vectors(dtype: DType, bits: str) -> None:
    _, source = made(summed(dtype), "sm_80")
    opcodes = disassembler.opcodes(compiled(source.text, "sm_80").cubin)
    assert accesses(opcodes["kernel_kernel"], "LDG") == {bits}


# ---------------------------------------------------------------------------- any batch


@emulated
@pytest.mark.parametrize("dtype", [F32, BF16])
@cases(full=60, sample=2)
@given(seed=SEEDS, batch=st.sampled_from((2, 5, 30, 33, 35, 63)))
def test_any_region_of_any_batch(dtype: DType, seed: int, batch: int) -> None:
    rng = Random(seed)
    graph = draw_region(rng, dtype, batches=(batch,))
    assume(graph.results)
    if dtype is BF16:
        check_rounded(graph, random_values(graph, rng))
    else:
        check(graph, random_values(graph, rng), 32 * BOUND)


# ---------------------------------------------------------------------------- pool and norm


def adjoints(ties: str = "all") -> tuple[list[Node], Node, Node]:
    """Leaves with the adjoint of a pool of few images; x, and that adjoint."""
    x, y = (leaf(name, F32, 5, 6, 9, 8) for name in "xy")
    dz = leaf("dz", F32, 5, 6, 4, 3)
    dy = apply("max_pool_dx", y, dz, name="dy", ties=ties, **POOL)
    return [x, y, dz, dy], x, dy


def normed(x: Node, dy: Node, size: int) -> Node:
    return apply("lrn_dx", x, dy, name="dx", groups=2, **NORM | {"size": size})


@emulated
@pytest.mark.parametrize(
    ("size", "ties"), sampled([(1, "all"), (4, "first"), (5, "all")], (4, "first"))
)
def test_the_adjoints_of_a_pool_and_of_a_norm_are_one_launch(size: int, ties: str) -> None:
    nodes, x, dy = adjoints(ties)
    half = apply("scale", dy, name="half", by=0.5)
    dx = normed(x, half, size)
    graph = Graph("adjoints", (*nodes, half, dx), (dx,))
    assert launches(graph) == 1
    check(graph, random_values(graph, Random(size)), 32 * BOUND)


@emulated
def test_what_a_norm_reads_further_off_is_stored() -> None:
    """Of x it reads more maps than of dy."""
    nodes, x, dy = adjoints()
    dx = normed(dy, x, 5)
    graph = Graph("other", (*nodes, dx), (dx,))
    assert launches(graph) == 2
    check(graph, random_values(graph, Random(0)), 32 * BOUND)


@emulated
@pytest.mark.parametrize("read", sampled(["result", "later"], "later"))
def test_what_others_read_too_is_stored(read: str) -> None:
    nodes, x, dy = adjoints()
    dx = normed(x, dy, 5)
    db = apply("bias_dw", dy, name="db", rank=1)
    nodes, results = ([*nodes, dx], (dy, dx)) if read == "result" else ([*nodes, dx, db], (dx, db))
    graph = Graph("both", tuple(nodes), results)
    assert launches(graph) > 1
    check(graph, random_values(graph, Random(0)), 32 * BOUND)


def test_a_workspace_that_no_index_reaches_is_refused() -> None:
    region = parse("""graph region {
      a0: f32[512,64,200,200] = input()
      v0: f32[512,64,200,200] = tanh(a0)
      v1: f32[512,64,200,200] = spatial_lrn(v0, size=5, alpha=0.0001, beta=0.75, k=1.0)
      v2: f32[512,64,200,200] = tanh(v1)
      v3: f32[512,64,200,200] = spatial_lrn(v2, size=5, alpha=0.0001, beta=0.75, k=1.0)
      output v3
    }""")
    with pytest.raises(Error, match=r"a workspace of .* elements, expected at most 2,147,483,647"):
        build(region, Cuda("none", ("sm_90a",), ""))
