"""Minimal filtering is exact algebra; convolutions by it equal the oracle, and pay."""

from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.kernels.axis import Adjoint, Forward, axes
from codegen.kernels.cpu import linear
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.winograd.choice import PRODUCTS, direct_work, phases, work
from codegen.kernels.cpu.winograd.conv import Conv, ConvDx
from codegen.kernels.cpu.winograd.phases import Phases
from codegen.kernels.cpu.winograd.side import side
from codegen.kernels.cpu.writer import LANES, Built, Writer
from codegen.kernels.minimal import POINTS, Matrix, Minimal
from codegen.targets import Cpu, cpu
from frontend.alexnet import alexnet
from frontend.oneweirdtrick import oneweirdtrick
from frontend.vgg import vgg
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import Kernel, as_region, host, run_built
from tests.operands import aligned
from tests.test_contractions import random_values, with_epilogue

MOST = max(POINTS)
TOLERANCE = 2e-5
"""What is promised of convolutions and data gradients."""

# ---------------------------------------------------------------------------- algebra


@pytest.mark.parametrize(
    ("results", "taps"),
    [(m, r) for m in range(1, MOST + 1) for r in range(1, MOST + 1) if m + r - 1 <= MOST],
)
def test_minimal_filtering_is_exact(results: int, taps: int) -> None:
    rng, filtering = Random(results * 10 + taps), Minimal(results, taps)
    inputs, weights = (
        [Fraction(rng.randint(-99, 99), rng.randint(1, 9)) for _ in range(count)]
        for count in (filtering.products, taps)
    )
    pairs = zip(
        _times(filtering.taps_matrix, weights), _times(filtering.input, inputs), strict=True
    )
    found = _times(filtering.output, [a * b for a, b in pairs])
    assert found == [sum(inputs[i + j] * weights[j] for j in range(taps)) for i in range(results)]


def _times(matrix: Matrix, vector: list[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


COEFFICIENTS = st.sampled_from([Fraction(n, d) for n in range(-3, 4) for d in (1, 2)])


@cases(full=100, sample=6)
@given(data=st.data(), rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_matrices_written_out_are_the_matrices(
    data: st.DataObject, rows: int, columns: int
) -> None:
    """Mirrored rows and columns, too, whose common parts are added up once; zeros are left out."""
    matrix = [[data.draw(COEFFICIENTS) for _ in range(columns)] for _ in range(rows)]
    if rows > 1 and data.draw(st.booleans()):
        matrix[-1] = [c * data.draw(st.sampled_from((1, -1))) for c in matrix[0]]
    if columns > 1 and data.draw(st.booleans()):
        for row in matrix:
            row[-1] = row[0] * data.draw(st.sampled_from((1, -1)))
    zeros = data.draw(st.sets(st.integers(0, columns - 1)))
    exact: Matrix = tuple(map(tuple, matrix))
    x = np.random.default_rng(rows).integers(-9, 9, (columns, LANES)).astype(np.float32)
    x[list(zeros)] = 0
    found = _combined(exact, x, zeros)
    # Small halves: no rounding.
    assert np.array_equal(found, np.array(matrix, np.float64) @ x)


def _combined(matrix: Matrix, x: Array, zeros: set[int]) -> Array:
    """What `linear` writes for a matrix, run; only its arguments are those of a dense layer."""
    one, other = _input("x", LANES, len(x)), _input("w0", len(matrix), len(x))
    region = as_region(Graph("f", (one, other, y := apply("dense", one, other, name="y")), (y,)))
    w = Writer(region.graph, host())
    source, result = w.buffers[w.leaves[0]], w.buffers[region.graph.outputs[0]]
    with w.tasks(1):
        vectors = [None if i in zeros else source[0, i, VECTOR] for i in range(len(x))]
        for i, vector in enumerate(linear.combined(w, matrix, vectors)):
            w.store(result, linear.ZERO if vector is None else vector, 0, i, VECTOR)
    found = aligned(np.full(len(matrix) * LANES, np.nan, np.float32))
    run_built(w.built(), region, host())(1, found, [aligned(x.ravel()), found, found])
    return found.reshape(len(matrix), LANES)


# ---------------------------------------------------------------------------- programs


def draw(op: str, rng: Random) -> Node:
    """A convolution or data gradient with borders, groups, several blocks of images and maps."""
    window = rng.choice(((3, 3), (5, 5), (2, 3), (5, 1), (7, 4)))
    stride = rng.choice(((1, 1), (1, 1), (2, 2), (4, 3))) if op == "conv" else (1, 1)
    pad = tuple(rng.randint(0, w // 2) for w in window for _ in range(2))
    size = tuple(rng.randint(w, 17) for w in window)
    groups, channels, maps = rng.choice(
        ((1, 3, 20), (1, 26, 33), (1, 9, 64), (2, 5, 32), (3, 7, 16))
    )
    images = rng.choice((1, 5, 16, 19, 37))
    out = tuple(
        (size[i] + pad[2 * i] + pad[2 * i + 1] - window[i]) // stride[i] + 1 for i in range(2)
    )
    weights = _input("w0", groups * maps, channels, *window)
    geometry: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
    if op == "conv":
        x = _input("x", images, groups * channels, *size)
        return apply(op, x, weights, name="y", **geometry)
    dy = _input("dy", images, groups * maps, *out)
    return apply(op, weights, dy, name="dx", **geometry, size=size)


def _input(name: str, *shape: int) -> Node:
    return apply("input", name=name, type=TensorType(shape, DType.F32))


def tiles(node: Node, rng: Random) -> Phases:
    """Tiles of any size that has at most 7 x 7 products."""
    one, other = (x.type.shape[2:] for x in node.inputs)
    kind, source, window = (Forward, one, other) if node.op == "conv" else (Adjoint, other, one)
    along = axes(kind, node, node.type.shape[2:], source, window)
    sizes = [rng.randint(1, MOST + 1 + -axis.window // axis.stride) for axis in along]
    return Phases(*(side(axis, size) for axis, size in zip(along, sizes, strict=True)))


def kernel(graph: Graph, by: Phases, target: Cpu) -> Kernel:
    """The program's kernel by minimal filtering, whether it pays or not."""

    def build(region: Graph, target: Cpu) -> Built:
        node = next(node for node in region.nodes if node.inputs)
        rule = Conv if node.op == "conv" else ConvDx
        return rule(region, target, node, by).build()

    with patch("tests.kernels.build", build):
        return Kernel(graph, target)


# ---------------------------------------------------------------------------- laws


@pytest.mark.parametrize("op", ["conv", "conv_dx"])
@cases(full=16, sample=2)
@given(seed=SEEDS, cached=st.sampled_from((1, 200_000)), strip=st.sampled_from((1, 3, 4)))
def test_any_convolution_equals_the_oracle(op: str, seed: int, cached: int, strip: int) -> None:
    """As many threads as want parts of the maps give the same bits as one."""
    rng = Random(seed)
    node = draw(op, rng)
    graph = with_epilogue(node, node.inputs, rng)
    target = replace(host(), tuning=replace(host().tuning, cached=cached, strip=strip))
    check(kernel(graph, tiles(node, rng), target), random_values(graph, rng))


def check(one: Kernel, feeds: dict[str, Array]) -> None:
    """Some threads give the oracle's results, and the same bits."""
    first, *others = (one.run(feeds, threads) for threads in (1, 3, 40))
    for name, reference in run_graph(one.graph, feeds).outputs.items():
        assert_close(first[name], reference, TOLERANCE, name)
        for other in others:
            assert other[name].tobytes() == first[name].tobytes(), f"{name}: threads change it"


@pytest.mark.parametrize("mcpu", ["haswell", "x86-64"])
@cases(full=6, sample=1)
@given(op=st.sampled_from(("conv", "conv_dx")), seed=SEEDS)
def test_smaller_register_files_serve_too(mcpu: str, op: str, seed: int) -> None:
    rng = Random(seed)
    node = draw(op, rng)
    graph = with_epilogue(node, node.inputs, rng)
    check(kernel(graph, tiles(node, rng), cpu(mcpu)), random_values(graph, rng))


# ---------------------------------------------------------------------------- the choice


def convolutions(network: Graph) -> list[Node]:
    """Of a network, forward."""
    return [node for node in network.nodes if node.op == "conv"]


@pytest.mark.parametrize("network", [alexnet(), vgg(16), oneweirdtrick(128)])
@pytest.mark.parametrize("winograd", PRODUCTS)
def test_chosen_tiles_keep_the_accuracy_and_save_work(network: Graph, winograd: str) -> None:
    chosen = {node: phases(node, cpu(winograd=winograd)) for node in convolutions(network)}
    found = {node: by for node, by in chosen.items() if by}
    assert bool(found) == (winograd != "none")
    for node, by in found.items():
        assert max(by.down.products, by.across.products) <= PRODUCTS[winograd]
        assert work(node, by) < direct_work(node)


def test_every_convolution_of_alexnet_has_less_than_half_the_work() -> None:
    for node in convolutions(alexnet()):
        by = phases(node, cpu())
        assert by is not None
        assert work(node, by) < direct_work(node) / 2


def test_maps_that_no_tile_divides_are_done_directly() -> None:
    def chosen(maps: int) -> Phases | None:
        x, w = _input("x", 16, 64, 27, 27), _input("w0", maps, 64, 5, 5)
        return phases(apply("conv", x, w, name="y", stride=(1, 1), pad=(2,) * 4, groups=1), cpu())

    assert chosen(64) is not None
    assert chosen(61) is None


def test_one_tap_is_done_directly() -> None:
    x, w = _input("x", 16, 64, 14, 14), _input("w0", 64, 64, 1, 1)
    node = apply("conv", x, w, name="y", stride=(1, 1), pad=(0, 0, 0, 0), groups=1)
    assert phases(node, cpu()) is None
