"""Kernels without a contraction equal the oracle, for any shape, region and thread count."""

import re
from dataclasses import replace
from math import sqrt
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codegen.kernels import build
from codegen.region import extract
from codegen.targets import Cpu
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph, Node, Pair
from ir.op import Array, Fusion
from ir.ops import TABLE, apply, row_of
from ir.text import parse
from ir.type import DType, TensorType
from passes.context import Context
from passes.pipeline import TRAIN, run_passes
from passes.regions import Regions
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS, networks
from tests.kernels import Kernel, host, with_batch
from tests.op_cases import Case, draw_case
from tests.operands import random_values
from tests.region_cases import draw_region

EPS = float(np.finfo(np.float32).eps)
CONTRACTIONS = [op for op, row in TABLE.items() if row.fusion is Fusion.ANCHOR]
OPS = [
    op
    for op, row in TABLE.items()
    if not row.is_leaf and op not in CONTRACTIONS and op != "transfer"
]
# What has no rounding but that of each single operation, in an order that the op defines.
EXACT = {
    *("add", "sub", "mul", "scale", "scale_by", "cast", "relu", "relu_dx", "bias_add", "dropout"),
    *("center", "channel_shift", "sgd_weight", "accumulate", "flatten", "unflatten", "crop"),
    *("concat", "slice", "unslice", "max_pool"),
}
# Relative to the largest element; x^beta is within 4 ulp and sums here have few terms.
BOUND = 16 * EPS
# Those that compute functions, or hold much beside their operands.
DEMANDING = (
    *("tanh", "dropout", "softmax", "cross_entropy", "cross_entropy_dx", "accuracy", "bias_dw"),
    *("lrn", "lrn_dx", "spatial_lrn_dx", "max_pool_dx", "crop"),
)
LIBM = ("expf", "logf", "powf", "tanhf", "exp2f", "log2f", "floorf", "roundf")


def check(kernel: Kernel, feeds: dict[str, Array], bound: float) -> dict[str, Array]:
    """The kernel's results, which are the oracle's, whatever the number of threads."""
    found = kernel.run(feeds)
    results = run_graph(kernel.graph, feeds)
    for name, expected in (results.outputs | results.updates).items():
        assert_close(found[name], expected, bound, name)
    for threads in (3, 40):
        again = kernel.run(feeds, threads)
        for name, value in found.items():
            assert value.tobytes() == again[name].tobytes(), f"{name}: threads change it"
    return found


# ---------------------------------------------------------------------------- single ops


@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS, batch=st.sampled_from((0, 15, 16, 17, 33)))
def test_ops(op: str, seed: int, batch: int) -> None:
    case = draw_case(op, Random(seed), exact=True)
    if batch and op not in ("concat", "slice", "unslice") and case.node.inputs[0].type.shape:
        case = with_batch(case, batch)
    found = check(Kernel(case.graph), in_float32(case), BOUND)
    if op in EXACT:
        exact = run_graph(case.graph, in_float32(case), np.float32).outputs
        assert all(np.array_equal(found[name], value) for name, value in exact.items())


def in_float32(case: Case) -> dict[str, Array]:
    """The feeds, rounded, so that oracle and kernel read the same."""
    floats = {leaf.name for leaf in case.leaves if leaf.type.dtype is DType.F32}
    return {
        name: np.asarray(value, np.float32) if name in floats else value
        for name, value in case.feeds.items()
    }


@pytest.mark.parametrize("op", ["relu", "tanh", "max_pool", "lrn"])
def test_nan_is_not_hidden(op: str) -> None:
    case = with_batch(draw_case(op, Random(0), exact=True), 17)
    feeds = in_float32(case)
    for image in (0, 16):
        feeds[case.leaves[0].name][image] = np.nan
    found = Kernel(case.graph).run(feeds)[case.node.name]
    assert np.array_equal(np.isnan(found), np.isnan(run_graph(case.graph, feeds).outputs[op]))


# ---------------------------------------------------------------------------- regions


@cases(full=60, sample=6)
@given(graph=networks(), seed=SEEDS, devices=st.sampled_from((1, 2)))
def test_regions_of_networks(graph: Graph, seed: int, devices: int) -> None:
    rng = Random(seed)
    found = regions_of(graph, devices)
    for region in rng.sample(found, min(3, len(found))):
        kernel = Kernel(region, banded(rng.random() < 0.5))
        check(kernel, random_values(region, rng), 32 * BOUND)


def regions_of(graph: Graph, devices: int, precision: str = "fp32") -> list[Graph]:
    """Every region without a contraction of the program that trains a network, once."""
    context = Context(devices=devices, precision=precision)
    trained = run_passes(graph, TRAIN[: TRAIN.index("fuse") + 1], context)
    regions, results = Regions(trained), set(trained.results)
    updates = {pair.value: pair.leaf for pair in trained.updates}
    found: dict[str, Graph] = {}
    for nodes in regions.nodes.values():
        if all(node.op in OPS for node in nodes):
            stored = {node for node in nodes if regions.stored(node, results)}
            region = extract(nodes, stored, updates).graph
            found.setdefault(str([(n.op, n.type, dict(n.attrs)) for n in region.nodes]), region)
    return list(found.values())


@cases(full=25, sample=3)
@given(seed=SEEDS, batch=st.integers(1, 70), rank=st.sampled_from((1, 3)))
def test_sums_over_many_images_and_positions(seed: int, batch: int, rank: int) -> None:
    """Few channels, whose blocks of images several tasks share, or many."""
    rng = Random(seed)
    shape = batch, rng.choice((1, 3, 33, 70)), rng.randint(1, 30), rng.randint(1, 30)
    dy = _leaf("dy", *shape)
    graph = Graph("sum", (dy, y := apply("bias_dw", dy, name="y", rank=rank)), (y,))
    terms = dy.type.elements // y.type.elements
    check(Kernel(graph), random_values(graph, rng), 8 * EPS * sqrt(terms))


@cases(full=25, sample=4)
@given(seed=SEEDS, batch=st.sampled_from((1, 16, 19)))
def test_bands_of_rows(seed: int, batch: int) -> None:
    """Images so large that a block is cut into rows, which overlap."""
    rng = Random(seed)
    graph = norm_and_pool(rng, batch)
    kernel = Kernel(graph, banded(True))
    check(kernel, random_values(graph, rng), 32 * BOUND)


@cases(full=80, sample=5)
@given(seed=SEEDS)
def test_any_program_is_a_region(seed: int) -> None:
    rng = Random(seed)
    graph = draw_region(rng)
    assume(graph.results)
    kernel = Kernel(graph, banded(rng.random() < 0.5))
    check(kernel, random_values(graph, rng), 32 * BOUND)


def banded(small: bool) -> Cpu:
    """This machine; or one whose caches are so small that images are cut into bands of few rows."""
    return (
        replace(host(), tuning=replace(host().tuning, cached=2000, near=2000)) if small else host()
    )


def norm_and_pool(rng: Random, batch: int) -> Graph:
    """lrn | max_pool, or its mirror image, in any geometry."""
    x = _leaf("x", batch, rng.randint(1, 8), rng.randint(7, 24), rng.randint(4, 24))
    pool: dict[str, Any] = {
        "window": (rng.randint(2, 4), 3),
        "stride": (rng.randint(1, 5), 2),
        "ties": rng.choice(("all", "first")),
    }
    norm: dict[str, Any] = {"size": 5, "k": 2.0, "alpha": 0.1, "beta": 0.75}
    kind = rng.choice(("lrn", "spatial_lrn"))
    y = apply(kind, x, name="y", **norm)
    z = apply("max_pool", y, name="z", **pool)
    if rng.random() < 0.5:
        return Graph("forward", (x, y, z), rng.choice(((y, z), (z,))))
    dz = _leaf("dz", *z.type.shape)
    dy = apply("max_pool_dx", x, dz, name="dy", **pool)
    dx = apply(f"{kind}_dx", x, dy, name="dx", **norm)
    masked = apply("relu_dx", x, dx, name="masked")
    return Graph("backward", (x, dz, dy, dx, masked), (masked,))


def _leaf(name: str, *shape: int, dtype: DType = DType.F32) -> Node:
    return apply("input", name=name, type=TensorType(shape, dtype))


# ---------------------------------------------------------------------------- memory


@pytest.mark.parametrize("op", ["bias_dw", "dense_dw", "conv_dw"])
def test_the_padding_of_states_stays_zero_whatever_is_added(op: str) -> None:
    """Gradients of a parameter that is used twice come from elsewhere, too."""
    x, dy = ([17, 5, 4, 4], [17, 3, 4, 4]) if op == "conv_dw" else ([17, 5], [17, 3])
    operands = [_leaf("x", *x), _leaf("dy", *dy)][op == "bias_dw" :]
    attrs: dict[str, Any] = {"rank": 1} if op == "bias_dw" else {}
    attrs |= {"kernel": (1, 1)} if op == "conv_dw" else {}
    dw = apply(op, *operands, name="dw", **attrs)
    other = _leaf("other", *dw.type.shape)
    state = apply("state", name="w", type=dw.type)
    both = apply("add", dw, other, name="both")
    update = Pair(state, apply("add", state, both, name="next"))
    nodes = (*operands, other, state, dw, both, update.value)
    graph = Graph("shared", nodes, (), updates=(update,))
    check(Kernel(graph), random_values(graph, Random(0)), 32 * BOUND)


@cases(full=25, sample=6)
@given(seed=SEEDS)
def test_pointwise_kernels_work_in_place(seed: int) -> None:
    rng = Random(seed)
    pointwise = [op for op in OPS if TABLE[op].fusion is Fusion.POINTWISE and op != "cast"]
    case = draw_case(rng.choice(pointwise), rng, exact=True)
    alias = row_of(case.node).alias
    assert isinstance(alias, tuple)
    operand = case.node.inputs[row_of(case.node).operands.index(rng.choice(alias))]
    assume(operand.type.bytes == case.node.type.bytes)
    kernel, feeds = Kernel(case.graph), in_float32(case)
    leaf = dict(zip((x.name for x in case.node.inputs), kernel.region.arguments, strict=False))
    apart = kernel.run(feeds)[case.node.name]
    together = kernel.run(feeds, in_place=leaf[operand.name])[case.node.name]
    assert apart.tobytes() == together.tobytes()


def test_nothing_is_allocated_and_no_scalar_function_is_called() -> None:
    forbidden = re.compile(rf"\b({'|'.join(LIBM)}|TVMBackendAllocWorkspace)\b")
    for op in DEMANDING:
        kernel = Kernel(draw_case(op, Random(0), exact=True).graph)
        assembly = kernel.assembly
        assert not forbidden.findall(assembly), op


def test_bf16_is_refused() -> None:
    x = _leaf("x", 4, 4, dtype=DType.BF16)
    y = apply("relu", x, name="y")
    with pytest.raises(Error, match="bf16"):
        Kernel(Graph("refused", (x, y), (y,)))


def test_a_constant_is_no_operand_of_a_contraction() -> None:
    region = parse("""graph region {
      a0: f32[4,8] = input()
      c0: f32[4,8] = constant(value=0.5)
      v0: f32[4,4] = dense(a0, c0)
      output v0
    }""")
    with pytest.raises(Error, match="dense reads the constant 'c0', expected a fed value or a par"):
        build(region, host())
