"""Kernels for GPUs without a contraction equal the oracle, for any shape, region and order.

Their CUDA C runs on the host (`codegen/cuda/emulator.py`).
"""

from math import sqrt
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codegen.cuda import cubins, emulator, toolchain
from codegen.kernels.attributes import integers
from codegen.kernels.cuda.patch import Layout, Size, best
from codegen.kernels.cuda.pooled import Pixels, cost
from codegen.kernels.cuda.writer import Built
from codegen.targets import cuda
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph, Node, Pair
from ir.op import Array, Fusion
from ir.ops import TABLE, apply, row_of
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS, networks
from tests.kernels import EMULATED, Kernel, as_region, with_batch
from tests.op_cases import Case, draw_case
from tests.operands import random_values
from tests.region_cases import draw_region
from tests.test_kernels import BOUND, EPS, EXACT, OPS, in_float32, norm_and_pool, regions_of

pytestmark = pytest.mark.skipif(not emulator.available(), reason="no C++ compiler to run CUDA C")
BATCHES = (0, 1, 31, 32, 33, 70)
"""With 0, as drawn."""


def check(graph: Graph, feeds: dict[str, Array], bound: float) -> dict[str, Array]:
    """The results, which are the oracle's, whatever the order of threads and blocks."""
    kernel = Kernel(graph, EMULATED)
    found = kernel.run(feeds)
    results = run_graph(graph, feeds)
    for name, expected in (results.outputs | results.updates).items():
        assert_close(found[name], expected, bound, name)
    again = kernel.run(feeds, order="backward")
    for name, value in found.items():
        assert value.tobytes() == again[name].tobytes(), f"{name}: the order changes it"
    return found


def launches(graph: Graph) -> int:
    """How many launches the kernel of a program has."""
    built = Kernel(graph, EMULATED).built
    assert isinstance(built, Built)
    return len(built.launches)


def leaf(name: str, *shape: int, dtype: DType = DType.F32) -> Node:
    """An operand."""
    return apply("input", name=name, type=TensorType(shape, dtype))


# ---------------------------------------------------------------------------- single ops


@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS, batch=st.sampled_from(BATCHES))
def test_ops(op: str, seed: int, batch: int) -> None:
    case = draw_case(op, Random(seed), exact=True)
    if batch and op not in ("concat", "slice", "unslice") and case.node.inputs[0].type.shape:
        case = with_batch(case, batch)
    found = check(case.graph, in_float32(case), BOUND)
    if op in EXACT:
        exact = run_graph(case.graph, in_float32(case), np.float32).outputs
        assert all(np.array_equal(found[name], value) for name, value in exact.items())


@pytest.mark.parametrize("op", ["relu", "tanh", "max_pool", "lrn"])
def test_nan_is_not_hidden(op: str) -> None:
    case = with_batch(draw_case(op, Random(0), exact=True), 33)
    feeds = in_float32(case)
    for image in (0, 32):
        feeds[case.leaves[0].name][image] = np.nan
    found = Kernel(case.graph, EMULATED).run(feeds)[case.node.name]
    assert np.array_equal(np.isnan(found), np.isnan(run_graph(case.graph, feeds).outputs[op]))


@pytest.mark.parametrize("ties", ["all", "first"])
@cases(full=20, sample=2)
@given(seed=SEEDS)
def test_ties(ties: str, seed: int) -> None:
    rng = Random(seed)
    x = leaf("x", 3, rng.randint(1, 3), rng.randint(3, 20), rng.randint(3, 20))
    pool: dict[str, Any] = {"window": (3, 3), "stride": (rng.randint(1, 4), 2), "ties": ties}
    dy = leaf("dy", *apply("max_pool", x, name="y", **pool).type.shape)
    dx = apply("max_pool_dx", x, dy, name="dx", **pool)
    graph = Graph("ties", (x, dy, dx), (dx,))
    feeds = random_values(graph, rng)
    check(graph, feeds | {"x": np.round(feeds["x"])}, BOUND)


@pytest.mark.parametrize("op", ["lrn", "lrn_dx", "spatial_lrn", "spatial_lrn_dx"])
@cases(full=20, sample=1)
@given(seed=SEEDS, size=st.integers(1, 8), maps=st.integers(1, 9), groups=st.integers(1, 3))
def test_norms_of_any_window(op: str, seed: int, size: int, maps: int, groups: int) -> None:
    attrs: dict[str, Any] = {"size": size, "k": 2.0, "alpha": 0.5, "beta": 0.75}
    attrs |= {} if op.startswith("spatial") else {"groups": groups}
    operands = [leaf(name, 3, groups * maps, 5, 4) for name in ("x", "dy")[: 1 + op.endswith("dx")]]
    graph = Graph("norm", (*operands, y := apply(op, *operands, name="y", **attrs)), (y,))
    check(graph, random_values(graph, Random(seed)), 2 * BOUND)


@cases(full=25, sample=3)
@given(seed=SEEDS, batch=st.integers(1, 70), rank=st.sampled_from((1, 3)))
def test_sums_over_many_images_and_positions(seed: int, batch: int, rank: int) -> None:
    """So many that several blocks share a channel."""
    rng = Random(seed)
    shape = batch, rng.choice((1, 3, 33)), rng.randint(1, 30), rng.randint(1, 30)
    dy = leaf("dy", *shape)
    graph = Graph("sum", (dy, y := apply("bias_dw", dy, name="y", rank=rank)), (y,))
    terms = dy.type.elements // y.type.elements
    check(graph, random_values(graph, rng), 8 * EPS * sqrt(terms))


@pytest.mark.parametrize("op", ["cross_entropy", "cross_entropy_dx", "accuracy"])
@cases(full=12, sample=2)
@given(seed=SEEDS, label=st.sampled_from((-1, -(2**31), 2**31 - 1, 10)))
def test_images_of_no_weight_may_have_any_label(op: str, seed: int, label: int) -> None:
    rng = Random(seed)
    operands = [leaf("z", 33, 10), leaf("labels", 33, dtype=DType.I32), leaf("weights", 33)]
    operands += [leaf("dloss")] if op.endswith("dx") else []
    graph = Graph("loss", (*operands, y := apply(op, *operands, name="y")), (y,))
    feeds = random_values(graph, rng)
    feeds["weights"][::4] = 0
    expected = run_graph(graph, feeds).outputs["y"]
    feeds["labels"][::4] = label
    found = Kernel(graph, EMULATED).run(feeds)["y"]
    assert_close(found, expected, BOUND, op)


# ---------------------------------------------------------------------------- regions


@cases(full=50, sample=4)
@given(graph=networks(), seed=SEEDS, devices=st.sampled_from((1, 2)))
def test_regions_of_networks(graph: Graph, seed: int, devices: int) -> None:
    rng = Random(seed)
    found = regions_of(graph, devices)
    for region in rng.sample(found, min(2, len(found))):
        check(region, random_values(region, rng), 32 * BOUND)


@cases(full=80, sample=4)
@given(seed=SEEDS)
def test_any_program_is_a_region(seed: int) -> None:
    rng = Random(seed)
    graph = draw_region(rng)
    assume(graph.results)
    check(graph, random_values(graph, rng), 32 * BOUND)


@cases(full=25, sample=2)
@given(seed=SEEDS)
def test_pointwise_kernels_work_in_place(seed: int) -> None:
    rng = Random(seed)
    pointwise = [op for op in OPS if TABLE[op].fusion is Fusion.POINTWISE and op != "cast"]
    check_in_place(draw_case(rng.choice(pointwise), rng, exact=True), rng)


def check_in_place(case: Case, rng: Random) -> None:
    """A result in the place of an operand that it may replace has the same bits as apart."""
    alias = row_of(case.node).alias
    assert isinstance(alias, tuple)
    operand = case.node.inputs[row_of(case.node).operands.index(rng.choice(alias))]
    assume(operand.type.bytes == case.node.type.bytes)
    kernel, feeds = Kernel(case.graph, EMULATED), in_float32(case)
    leaf = dict(zip((x.name for x in case.node.inputs), kernel.region.arguments, strict=False))
    apart = kernel.run(feeds)[case.node.name]
    together = kernel.run(feeds, in_place=leaf[operand.name])[case.node.name]
    assert apart.tobytes() == together.tobytes()


def test_integers_are_kept_between_launches() -> None:
    """Bytes and offsets, read at other places than their own."""
    x = leaf("x", 33, 3, 9, 9, dtype=DType.U8)
    offset, flip = (leaf(n, *shape, dtype=DType.I32) for n, shape in (("o", (33, 2)), ("f", (33,))))
    crop = apply("crop", x, offset, flip, name="crop", size=(5, 6))
    later = [
        apply("slice", n, name=f"{n.name}.1", axis=0, start=1, size=32) for n in (offset, flip)
    ]
    part = apply("slice", crop, name="part", axis=0, start=1, size=32)
    again = apply("crop", part, *later, name="again", size=(2, 3))
    y = apply("cast", again, name="y", to="f32")
    graph = Graph("bytes", (x, offset, flip, crop, *later, part, again, y), (y,))
    feeds = random_values(graph, Random(0))
    feeds["o"] %= 4
    found = check(graph, feeds, 0.0)
    assert found["y"].any()


@pytest.mark.parametrize("op", ["relu", "tanh"])
@cases(full=20, sample=2)
@given(seed=SEEDS)
def test_a_state_is_overwritten_when_all_have_read_it(op: str, seed: int) -> None:
    """Its new value at a pixel is that of a window of the old ones."""
    rng = Random(seed)
    # Larger than what one block computes.
    shape = rng.choice((1, 33)), rng.randint(1, 3), rng.randint(24, 40), rng.randint(24, 40)
    state = apply("state", name="s", type=TensorType(shape, DType.F32))
    x = apply(op, state, name="x")
    y = apply("max_pool", x, name="y", window=(3, 3), pad=(1, 1, 1, 1))
    graph = Graph("update", (state, x, y), (), updates=(Pair(state, y),))
    check(graph, random_values(graph, rng), BOUND)


def test_a_scalar_state_is_updated_once() -> None:
    """By one thread of those that there are."""
    total = apply("state", name="total", type=TensorType((), DType.F32))
    x, keep = leaf("x"), leaf("keep")
    y = apply("accumulate", total, x, keep, name="y")
    graph = Graph("scalar", (total, x, keep, y), (), updates=(Pair(total, y),))
    check(graph, random_values(graph, Random(0)), BOUND)


# ---------------------------------------------------------------------------- shared memory


@cases(full=40, sample=3)
@given(seed=SEEDS, batch=st.sampled_from((1, 3, 32, 33)))
def test_norms_and_pools(seed: int, batch: int) -> None:
    rng = Random(seed)
    graph = norm_and_pool(rng, batch)
    check(graph, random_values(graph, rng), 32 * BOUND)
    if graph.name == "forward":
        assert launches(graph) == 1


@st.composite
def pools(draw: st.DrawFn) -> Node:
    """A pool of any geometry that is one."""
    size, window, stride, pad = (
        tuple(draw(st.integers(*bounds)) for _ in range(count))
        for bounds, count in (((1, 30), 2), ((1, 5), 2), ((1, 6), 2), ((0, 4), 4))
    )
    geometry: dict[str, Any] = {"window": window, "stride": stride, "pad": pad}
    try:
        return apply("max_pool", leaf("x", 1, 1, *size), name="y", **geometry)
    except Error:
        assume(False)
        raise


@cases(full=300, sample=60)
@given(pool=pools(), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_patches_own_every_pixel_once_and_see_their_windows(
    pool: Node, rows: int, columns: int
) -> None:
    pixels = Pixels(pool)
    layout = Layout(pool.type.shape, Size(1, rows, columns), pixels.under)
    for axis, extent in enumerate(pool.inputs[0].type.shape[2:]):
        owned: list[int] = []
        for number in range(layout.counts[2 + axis]):
            first, end = layout.results(axis, number)
            low, high = layout.source(axis, number)
            owned += range(low, pixels.owned(axis, end))
            assert high - low <= layout.under[axis]
            for result in range(first, end):
                assert set(_window(pool, axis, result)) <= set(range(low, high))
            assert pixels.owned(axis, end) <= high <= extent
        assert owned == list(range(owned[0], extent))
        assert owned[0] == 0


def _window(pool: Node, axis: int, result: int) -> list[int]:
    """The pixels of a window along an axis."""
    window, stride, pad = (integers(pool, name) for name in ("window", "stride", "pad"))
    start, extent = result * stride[axis] - pad[2 * axis], pool.inputs[0].type.shape[2 + axis]
    return [pixel for pixel in range(start, start + window[axis]) if 0 <= pixel < extent]


@cases(full=100, sample=20)
@given(pool=pools(), maps=st.integers(1, 8), reach=st.integers(0, 8), size=st.sampled_from((2, 4)))
def test_patches_fit_into_shared_memory(pool: Node, maps: int, reach: int, size: int) -> None:
    shape, lanes = (1, 8 * maps, *pool.type.shape[2:]), 16 // size
    layout = best(
        shape,
        Pixels(pool).under,
        range(1, maps + 1),
        lambda each: cost(each, reach, lanes, size),
    )
    assert layout is not None
    vectors = layout.size.maps * layout.under[0] * layout.under[1]
    assert vectors * 32 * size <= 48 * 1024


# ---------------------------------------------------------------------------- binaries


@cases(full=20, sample=2)
@given(seed=SEEDS)
def test_binaries_keep_everything_in_registers(seed: int) -> None:
    """The build refuses a kernel with a stack or spills."""
    try:
        toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    graph = draw_region(Random(seed))
    assume(graph.results)
    (made,) = cubins.compiled(as_region(graph).graph, cuda(("sm_90a",))).variants.values()
    assert len(made.launches) == launches(graph)
