"""Kernels for GPUs without a contraction, in bf16: every node is rounded as the oracle rounds it.

Arithmetic is float32's, so an element may be the other neighbour of what lies near the middle of
two bf16 numbers; nearly all are the oracle's.
"""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codegen.cuda import cubins, emulator, toolchain
from codegen.targets import cuda
from codegen.tolerance import UNIT, roundings
from ir.command import Error
from ir.eval import in_type, run_graph
from ir.graph import Graph, Node, Pair, rebuilt
from ir.op import Array, Fusion
from ir.ops import TABLE, apply, reapply
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS, networks
from tests.kernels import EMULATED, Kernel, as_region, with_batch
from tests.op_cases import CASES, Case, Draw
from tests.operands import random_values
from tests.region_cases import draw_region
from tests.test_cuda_kernels import BATCHES, check_in_place
from tests.test_kernels import BOUND, EXACT, OPS, in_float32, norm_and_pool, regions_of

pytestmark = pytest.mark.skipif(not emulator.available(), reason="no C++ compiler to run CUDA C")

IN_F32 = {"softmax", "cross_entropy", "cross_entropy_dx", "accuracy"}
IN_F32 |= {"sgd_velocity", "sgd_weight", "accumulate"}
ROUNDED = [op for op in OPS if op not in IN_F32]
OTHERS = 0.02
"""The share of elements that may be another neighbour, beside one of each result."""


def check(graph: Graph, feeds: dict[str, Array]) -> dict[str, Array]:
    """The results, which are the oracle's, whatever the order of threads and blocks."""
    kernel = Kernel(graph, EMULATED)
    found = kernel.run(feeds)
    results, turns = run_graph(graph, feeds), roundings(graph)
    for name, expected in (results.outputs | results.updates).items():
        assert_alike(found[name], expected, _types(graph)[name], turns[name])
    again = kernel.run(feeds, order="backward")
    for name, value in found.items():
        assert value.tobytes() == again[name].tobytes(), f"{name}: the order changes it"
    return found


def _types(graph: Graph) -> dict[str, TensorType]:
    updates = {pair.leaf.name: pair.value.type for pair in graph.updates}
    return {node.name: node.type for node in graph.outputs} | updates


def assert_alike(value: Array, reference: Array, type: TensorType, turns: int) -> None:
    """Fail unless bf16 numbers are nearly all equal, and others neighbours.

    What was rounded before may have gone the other way: numbers in f32 may be off by so much, and a
    few in bf16. `turns` is how often numbers are rounded on the way to the result.
    """
    is_bf16 = type.dtype is DType.BF16
    bound = 32 * BOUND + (turns - is_bf16) * UNIT
    if not is_bf16:
        assert_close(value, reference, bound, "in f32")
        return
    assert value.shape == reference.shape
    steps = np.abs(_place(value) - _place(reference))
    others = int((steps > 0).sum())
    assert others <= 1 + OTHERS * value.size, f"{others} of {value.size} are others"
    assert_close(np.where(steps > 1, value, reference), reference, bound, "no neighbour")


def _place(value: Array) -> Array:
    """Which one of all bf16 numbers it is."""
    bits = np.asarray(value, np.float32).view(np.int32) >> 16
    return np.where(bits < 0, -(bits & 0x7FFF), bits)


def leaf(name: str, *shape: int, dtype: DType = DType.BF16, op: str = "input") -> Node:
    """An operand."""
    return apply(op, name=name, type=TensorType(shape, dtype))


# ---------------------------------------------------------------------------- single ops


def draw_rounded(op: str, rng: Random) -> Case:
    """A random use of an op whose operands are bf16, as far as its type allows."""
    draw = Draw(rng, (DType.BF16,))
    node = CASES[op](draw)
    return Case(node, tuple(draw.leaves), draw.feeds)


@pytest.mark.parametrize("op", ROUNDED)
@cases(full=12, sample=1)
@given(seed=SEEDS, batch=st.sampled_from(BATCHES))
def test_ops(op: str, seed: int, batch: int) -> None:
    case = draw_rounded(op, Random(seed))
    if batch and op not in ("concat", "slice", "unslice"):
        case = with_batch(case, batch)
    found = check(case.graph, in_float32(case))
    if op in EXACT:
        exact = run_graph(case.graph, in_float32(case), np.float32).outputs
        assert all(np.array_equal(found[name], value) for name, value in exact.items())


@pytest.mark.parametrize("op", ["relu", "tanh", "max_pool", "lrn", "slice", "cast"])
def test_nan_and_infinity_are_not_hidden(op: str) -> None:
    case = with_batch(draw_rounded(op, Random(0)), 33)
    feeds = in_float32(case)
    for image, value in ((0, np.nan), (1, np.inf), (32, np.nan)):
        feeds[case.leaves[0].name][image] = value
    found = Kernel(case.graph, EMULATED).run(feeds)[case.node.name]
    with np.errstate(invalid="ignore"):
        expected = run_graph(case.graph, feeds).outputs[op]
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.array_equal(np.isinf(found), np.isinf(expected))


@cases(full=20, sample=2)
@given(seed=SEEDS, batch=st.sampled_from((1, 33)))
def test_casts_round_to_even(seed: int, batch: int) -> None:
    """Halfway between two numbers, beside it, and from integers."""
    near = np.random.default_rng(seed).integers(0x3000, 0x4F00, (batch, 40)).astype(np.uint32)
    middle = np.resize(np.array([0x7FFF, 0x8000, 0x8001, 0], np.uint32), near.shape)
    x, i = leaf("x", *near.shape, dtype=DType.F32), leaf("i", *near.shape, dtype=DType.I32)
    y, j = (apply("cast", n, name=f"{n.name}.16", to="bf16") for n in (x, i))
    back = apply("cast", y, name="back", to="f32")
    graph = Graph("casts", (x, i, y, j, back), (y, j, back))
    feeds = {"x": (near << 16 | middle).view(np.float32), "i": near.astype(np.int32)}
    found, expected = Kernel(graph, EMULATED).run(feeds), run_graph(graph, feeds).outputs
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("value", [0.1, 1.00390625, -3e30, 3.4e38])
def test_constants_are_rounded(value: float) -> None:
    x = leaf("x", 33, 5)
    c = apply("constant", name="c", type=x.type, value=value)
    graph = Graph("constant", (x, c, y := apply("relu_dx", x, c, name="y")), (y,))
    feeds = random_values(graph, Random(0))
    found = Kernel(graph, EMULATED).run(feeds)["y"]
    assert np.array_equal(found, run_graph(graph, feeds).outputs["y"])


@pytest.mark.parametrize("ties", ["all", "first"])
@cases(full=20, sample=3)
@given(seed=SEEDS)
def test_ties(ties: str, seed: int) -> None:
    """Of numbers that only rounding makes equal."""
    rng = Random(seed)
    x = leaf("x", 3, rng.randint(1, 3), rng.randint(3, 20), rng.randint(3, 20), dtype=DType.F32)
    pool: dict[str, Any] = {"window": (3, 3), "stride": (rng.randint(1, 4), 2), "ties": ties}
    near = apply("cast", x, name="near", to="bf16")
    dy = leaf("dy", *apply("max_pool", near, name="y", **pool).type.shape)
    dx = apply("max_pool_dx", near, dy, name="dx", **pool)
    graph = Graph("ties", (x, dy, near, dx), (dx,))
    feeds = random_values(graph, rng)
    feeds |= {"x": 1 + feeds["x"] / 64, "dy": np.round(8 * feeds["dy"])}
    found = Kernel(graph, EMULATED).run(feeds)["dx"]
    assert np.array_equal(found, run_graph(graph, feeds).outputs["dx"])


@cases(full=25, sample=3)
@given(seed=SEEDS, batch=st.integers(1, 70), rank=st.sampled_from((1, 3)))
def test_sums_are_float32(seed: int, batch: int, rank: int) -> None:
    """A sum of many small integers, which bf16 could not hold, is exact."""
    rng = Random(seed)
    dy = leaf("dy", batch, rng.choice((1, 3, 33)), rng.randint(1, 30), rng.randint(1, 30))
    graph = Graph("sum", (dy, y := apply("bias_dw", dy, name="y", rank=rank)), (y,))
    feeds = {"dy": np.random.default_rng(seed).integers(-9, 99, dy.type.shape)}
    assert np.array_equal(
        Kernel(graph, EMULATED).run(feeds)["y"], run_graph(graph, feeds).outputs["y"]
    )


# ---------------------------------------------------------------------------- regions


@cases(full=50, sample=2)
@given(graph=networks(), seed=SEEDS, devices=st.sampled_from((1, 2)))
def test_regions_of_networks(graph: Graph, seed: int, devices: int) -> None:
    rng = Random(seed)
    found = regions_of(graph, devices, "bf16")
    for region in rng.sample(found, min(2, len(found))):
        check(region, random_values(region, rng))


@cases(full=80, sample=4)
@given(seed=SEEDS)
def test_any_program_is_a_region(seed: int) -> None:
    rng = Random(seed)
    graph = draw_region(rng, DType.BF16)
    assume(graph.results)
    check(graph, random_values(graph, rng))


@cases(full=40, sample=3)
@given(seed=SEEDS, batch=st.sampled_from((1, 3, 32, 33)))
def test_norms_and_pools(seed: int, batch: int) -> None:
    rng = Random(seed)
    graph = _in_bf16(norm_and_pool(rng, batch))
    check(graph, random_values(graph, rng))


def _in_bf16(graph: Graph) -> Graph:
    """The same program on operands in bf16."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        new[node] = (
            reapply(node, tuple(new[x] for x in node.inputs))
            if node.inputs
            else leaf(node.name, *node.type.shape, op=node.op)
        )
    return rebuilt(graph, list(new.values()), new)


@cases(full=25, sample=2)
@given(seed=SEEDS, length=st.integers(2, 9))
def test_every_node_of_a_chain_is_rounded(seed: int, length: int) -> None:
    """Which shows after a few that are not, although registers could hold more."""
    x = leaf("x", 33, 40)
    nodes = [x]
    for number in range(length):
        nodes.append(apply("scale", nodes[-1], name=f"y{number}", by=1 + (-1) ** number / 300))
    graph = Graph("chain", tuple(nodes), (nodes[-1],))
    feeds = random_values(graph, Random(seed))
    exact = run_graph(graph, feeds, np.float32).outputs[nodes[-1].name]
    assert np.array_equal(Kernel(graph, EMULATED).run(feeds)[nodes[-1].name], exact)


# ---------------------------------------------------------------------------- memory


@cases(full=25, sample=2)
@given(seed=SEEDS)
def test_pointwise_kernels_work_in_place(seed: int) -> None:
    rng = Random(seed)
    pointwise = [op for op in ROUNDED if TABLE[op].fusion is Fusion.POINTWISE and op != "cast"]
    check_in_place(draw_rounded(rng.choice(pointwise), rng), rng)


@pytest.mark.parametrize("shape", [(33, 3, 5, 5), (64, 7), (32,), ()])
@cases(full=10, sample=2)
@given(seed=SEEDS)
def test_an_update_writes_the_rounded_copy_too(shape: tuple[int, ...], seed: int) -> None:
    """The copy is exactly the new weight, rounded; its padding stays zero."""
    weight, velocity = (leaf(name, *shape, dtype=DType.F32, op="state") for name in "wv")
    copy, g = leaf("w.bf16", *shape, op="state"), leaf("g", *shape, dtype=DType.F32)
    scalars = [leaf(name, dtype=DType.F32) for name in ("rate", "momentum", "decay")]
    faster = apply("sgd_velocity", velocity, weight, g, *scalars, name="faster", decay_by=1.0)
    moved = apply("sgd_weight", weight, faster, scalars[0], name="moved")
    rounded = apply("cast", moved, name="rounded", to="bf16")
    nodes = (weight, velocity, copy, g, *scalars, faster, moved, rounded)
    pairs = (Pair(velocity, faster), Pair(weight, moved), Pair(copy, rounded))
    graph = Graph("update", nodes, (), updates=pairs)
    feeds = random_values(graph, Random(seed))
    found = Kernel(graph, EMULATED).run(feeds)
    assert np.array_equal(found["w.bf16"], in_type(found["w"], copy.type, np.float32))


# ---------------------------------------------------------------------------- binaries


@cases(full=20, sample=2)
@given(seed=SEEDS)
def test_binaries_keep_everything_in_registers(seed: int) -> None:
    """The build refuses a kernel with a stack or spills."""
    try:
        toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    graph = draw_region(Random(seed), DType.BF16)
    assume(graph.results)
    target = cuda(("sm_80", "sm_90a"))
    assert set(cubins.compiled(as_region(graph).graph, target).variants) == set(target.arches)
