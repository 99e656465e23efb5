"""Contraction kernels equal the oracle, for any shape, epilogue, processor and thread count."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codegen.kernels import build
from codegen.kernels.axis import Adjoint
from codegen.kernels.cpu.columns import shape_along
from codegen.kernels.cpu.tile import best_shape
from codegen.targets import Target
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph, Node, Pair
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import Kernel, as_region, host
from tests.op_cases import draw_case

OPS = (
    "conv",
    "conv_dx",
    "conv_dw",
    "dense",
    "dense_dx",
    "dense_dw",
    "local",
    "local_dx",
    "local_dw",
)
EPS = float(np.finfo(np.float32).eps)


def check(graph: Graph, feeds: dict[str, Array], target: Target) -> None:
    """One thread gives the oracle's results; three, and more than have tasks, the same bits."""
    kernel = Kernel(graph, target)
    one, *others = (kernel.run(feeds, threads) for threads in (1, 3, 40))
    expected = run_graph(graph, feeds)
    tolerance = 8 * EPS * np.sqrt(reduction(next(n for n in graph.nodes if n.op in OPS)))
    for name, reference in (expected.outputs | expected.updates).items():
        for other in others:
            assert one[name].tobytes() == other[name].tobytes(), f"{name}: threads change it"
        assert_close(one[name], reference, tolerance, name)


def reduction(node: Node) -> int:
    """How many products one element sums, at most."""
    one, other = (x.type for x in node.inputs)
    match node.op:
        case "conv" | "local":
            return int(np.prod(other.shape[-3:]))
        case "conv_dx":
            return one.elements // one.shape[1]
        case "local_dx":
            return one.shape[0] * int(np.prod(one.shape[4:]))
        case "conv_dw":
            return other.elements // other.shape[1]
        case "dense":
            return other.shape[1]
        case _:
            return one.shape[0]


# ---------------------------------------------------------------------------- programs


def with_epilogue(node: Node, leaves: tuple[Node, ...], rng: Random) -> Graph:
    """A program of a contraction and something that may follow it."""
    follow: list[Callable[[Node], Graph]] = [_alone, _activated, _masked]
    if node.op.endswith("_dw"):
        follow = [_alone, _updated]
    graph = rng.choice(follow)(node)
    kept = (*graph.outputs, node) if rng.random() < 0.3 and not graph.updates else graph.outputs
    return graph.replace(nodes=(*leaves, *graph.nodes), outputs=tuple(dict.fromkeys(kept)))


def _alone(node: Node) -> Graph:
    return Graph("contraction", (node,), (node,))


def _activated(node: Node) -> Graph:
    bias = _input("bias", *node.type.shape[1:2], like=node)
    added = apply("bias_add", node, bias, name="added")
    result = apply("relu", added, name="result")
    return Graph("contraction", (node, bias, added, result), (result,))


def _masked(node: Node) -> Graph:
    flat = node.type.shape[0], node.type.elements // node.type.shape[0]
    view = node if node.type.rank == 2 else apply("flatten", node, name="view")
    y = _input("y", *flat, like=node, dtype=node.type.dtype)
    result = apply("relu_dx", y, view, name="result")
    return Graph("contraction", tuple(dict.fromkeys((node, y, view, result))), (result,))


def _updated(node: Node) -> Graph:
    v, w = (apply("state", name=name, type=node.type, value=0.0) for name in "vw")
    rates = tuple(_input(name, like=node) for name in ("rate", "momentum", "decay"))
    velocity = apply("sgd_velocity", v, w, node, *rates, name="velocity", decay_by=0.5)
    weight = apply("sgd_weight", w, velocity, rates[0], name="weight")
    pairs = (Pair(v, velocity), Pair(w, weight))
    return Graph("contraction", (node, v, w, *rates, velocity, weight), (), updates=pairs)


def _input(name: str, *shape: int, like: Node | None = None, dtype: DType = DType.F32) -> Node:
    device = like.device if like else None
    return apply("input", name=name, type=TensorType(shape, dtype, device))


def large(
    op: str,
    rng: Random,
    batches: Sequence[int] = (1, 5, 16, 19, 37, 70),
    features: Sequence[tuple[int, int]] = ((300, 10), (129, 70), (17, 131), (64, 64)),
    maps: Sequence[tuple[int, int]] = ((3, 20), (16, 16), (7, 5), (1, 48), (26, 33), (1, 1)),
) -> Node:
    """A contraction with several blocks, tiles and borders along every axis.

    `features` of dense layers and `maps` of a group are drawn in pairs, of sources and results.
    """
    kind, _, way = op.partition("_")
    images = rng.choice(batches)
    if kind == "dense":
        inputs, outputs = rng.choice(features)
        matrices = (images, inputs), (outputs, inputs)
        return _contraction(kind, way, matrices, (images, outputs), {}, {})
    window = rng.choice(((1, 1), (3, 3), (3, 3), (5, 4), (2, 11), (1, 18)))
    stride = rng.choice(((1, 1), (1, 1), (2, 1), (2, 3), (4, 4)))
    pad = tuple(rng.randint(0, min(3, w)) for w in window for _ in range(2))
    least = rng.choice((1, 5, 5, 5))
    size = tuple(rng.randint(max(least, w), 17) if w < 17 else 19 for w in window)
    groups = rng.choice((1, 1, 2, 3)) if kind == "conv" else 1
    channels, outputs = rng.choice(maps)
    if kind == "local":
        channels, outputs = min(channels, 7), min(outputs, 20)
    out = tuple(
        (s + pad[2 * i] + pad[2 * i + 1] - w) // t + 1
        for i, (s, w, t) in enumerate(zip(size, window, stride, strict=True))
    )
    positions = out if kind == "local" else ()
    shapes = (images, groups * channels, *size), (groups * outputs, *positions, channels, *window)
    geometry: dict[str, Any] = {"stride": stride, "pad": pad}
    geometry |= {"groups": groups} if kind == "conv" else {}
    every: dict[str, dict[str, Any]] = {"dx": {"size": size}, "dw": {"kernel": window}}
    sizes = every.get(way, {})
    return _contraction(kind, way, shapes, (images, groups * outputs, *out), geometry, sizes)


def _contraction(
    kind: str,
    way: str,
    shapes: tuple[tuple[int, ...], ...],
    result: tuple[int, ...],
    geometry: dict[str, Any],
    sizes: dict[str, Any],
) -> Node:
    x, w, dy = _input("x", *shapes[0]), _input("w0", *shapes[1]), _input("dy", *result)
    operands = {"": (x, w), "dx": (w, dy), "dw": (x, dy)}[way]
    op = f"{kind}_{way}" if way else kind
    return apply(op, *operands, name=op, **geometry, **sizes)


def random_values(graph: Graph, rng: Random) -> dict[str, Array]:
    """Normal numbers for every leaf."""
    noise = np.random.default_rng(rng.getrandbits(32))
    leaves = [node for node in graph.nodes if not node.inputs]
    return {leaf.name: noise.standard_normal(leaf.type.shape).astype(np.float32) for leaf in leaves}


# ---------------------------------------------------------------------------- laws


@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS)
def test_any_small_contraction_equals_the_oracle(op: str, seed: int) -> None:
    rng = Random(seed)
    case = draw_case(op, rng, exact=True)
    graph = with_epilogue(case.node, case.leaves, rng)
    check(graph, random_values(graph, rng), host())


@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS)
def test_any_large_contraction_equals_the_oracle(op: str, seed: int) -> None:
    rng = Random(seed)
    node = large(op, rng)
    graph = with_epilogue(node, node.inputs, rng)
    check(graph, random_values(graph, rng), host())


@pytest.mark.parametrize("mcpu", ["haswell", "x86-64"])
@cases(full=25, sample=3)
@given(op=st.sampled_from(OPS), seed=SEEDS)
@example(op="conv_dw", seed=178)  # one channel, where a tile has fewer rows than 4
def test_smaller_register_files_serve_too(mcpu: str, op: str, seed: int) -> None:
    rng = Random(seed)
    node = large(op, rng)
    graph = with_epilogue(node, node.inputs, rng)
    check(graph, random_values(graph, rng), host(mcpu))


@pytest.mark.parametrize("op", ["conv", "conv_dx"])
@cases(full=12, sample=1)
@given(seed=SEEDS, near=st.sampled_from((1, 2000, 8000)), cached=st.sampled_from((1, 4000)))
def test_small_caches_get_some_maps_at_a_time(op: str, seed: int, near: int, cached: int) -> None:
    """Sums rest between some source maps and the next; tasks do parts of the result's maps."""
    rng = Random(seed)
    node = large(op, rng)
    graph = with_epilogue(node, node.inputs, rng)
    tuning = replace(host().tuning, near=near, cached=cached)
    check(graph, random_values(graph, rng), replace(host(), winograd="none", tuning=tuning))


@given(
    accumulators=st.sampled_from((3, 6, 24)),
    rows=st.integers(1, 999),
    columns=st.integers(1, 999),
    taps=st.integers(1, 11),
)
def test_tiles_fit_into_registers(accumulators: int, rows: int, columns: int, taps: int) -> None:
    """A third as many hold what adjacent taps share, a row's vectors, and a scalar."""
    height, width = best_shape(accumulators, rows, columns, taps)
    assert height * width <= accumulators
    assert taps == 1 or width == 1 or (height + 1) * width < accumulators * 4 // 3


def test_most_results_may_lie_between_taps() -> None:
    rows, columns = shape_along(Adjoint(5, 3, 1, 2, 1), 24, 16)
    assert rows * columns > 0


@pytest.mark.parametrize("op", OPS)
def test_other_architectures_get_their_vector_instructions(op: str) -> None:
    node = large(op, Random(0))
    graph = with_epilogue(node, node.inputs, Random(0))
    kernel = Kernel(graph, host("neoverse-v1", "aarch64-linux-gnu"))
    assert "fmla\t" in kernel.assembly


def test_other_arithmetic_is_refused_with_a_reason() -> None:
    x, w = _input("x", 2, 3), _input("w0", 4, 3)
    node = apply("dense", x, w, name="y", math="tf32")
    with pytest.raises(Error, match="dense is only done in f32, not in tf32"):
        build(as_region(Graph("refused", (x, w, node), (node,))).graph, host())
