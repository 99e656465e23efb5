"""Minimal filtering is exact algebra; convolutions by it equal the oracle, and pay."""

from dataclasses import replace
from fractions import Fraction
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.kernels.cpu.linear import ZERO
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.winograd.choice import direct_work, phases, work
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.linear import combined
from codegen.kernels.minimal import POINTS, Matrix, Minimal
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.tiles import GROWTH, allowed, growth
from codegen.targets import cpu
from frontend.alexnet import alexnet
from frontend.oneweirdtrick import oneweirdtrick
from frontend.vgg import vgg
from ir.graph import Graph, Node
from ir.op import Array
from ir.ops import apply
from tests.counts import cases
from tests.filtering import check, draw, input_node, kernel, tiles
from tests.graphs import SEEDS
from tests.kernels import as_region, host, run_built
from tests.operands import aligned
from tests.test_contractions import random_values, with_epilogue

MOST = max(POINTS)

# ---------------------------------------------------------------------------- algebra


@pytest.mark.parametrize(
    ("results", "taps", "without"),
    [
        (m, r, without)
        for m, r, without in product(range(1, MOST + 1), range(1, MOST + 1), (0, 1))
        if m + r - 1 + without <= MOST
    ],
)
def test_minimal_filtering_is_exact(results: int, taps: int, without: int) -> None:
    """With a point less, too; what it makes of taps is then a part of what all points make."""
    rng, filtering = Random(results * 10 + taps), Minimal(results, taps, without)
    whole = Minimal(results + without, taps)
    assert filtering.taps_matrix == whole.taps_matrix[without:]
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
    one, other = input_node("x", LANES, len(x)), input_node("w0", len(matrix), len(x))
    region = as_region(Graph("f", (one, other, y := apply("dense", one, other, name="y")), (y,)))
    w = Writer(region.graph, host())
    source, result = w.buffers[w.leaves[0]], w.buffers[region.graph.outputs[0]]
    with w.tasks(1):
        vectors = [None if i in zeros else source[0, i, VECTOR] for i in range(len(x))]
        for i, vector in enumerate(combined(w, matrix, vectors)):
            w.store(result, ZERO if vector is None else vector, 0, i, VECTOR)
    found = aligned(np.full(len(matrix) * LANES, np.nan, np.float32))
    run_built(w.built(), region, host())(1, found, [aligned(x.ravel()), found, found])
    return found.reshape(len(matrix), LANES)


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


@pytest.mark.parametrize("mcpu", ["haswell", "x86-64"])
@cases(full=6, sample=1)
@given(op=st.sampled_from(("conv", "conv_dx")), seed=SEEDS)
def test_smaller_register_files_serve_too(mcpu: str, op: str, seed: int) -> None:
    rng = Random(seed)
    node = draw(op, rng)
    graph = with_epilogue(node, node.inputs, rng)
    check(kernel(graph, tiles(node, rng), host(mcpu)), random_values(graph, rng))


# ---------------------------------------------------------------------------- the choice


def convolutions(network: Graph) -> list[Node]:
    """Of a network, forward."""
    return [node for node in network.nodes if node.op == "conv"]


@pytest.mark.parametrize("network", [alexnet(), vgg(16), oneweirdtrick(128)])
@pytest.mark.parametrize("winograd", GROWTH)
def test_chosen_tiles_keep_the_accuracy_and_save_work(network: Graph, winograd: str) -> None:
    chosen = {node: phases(node, cpu(winograd=winograd)) for node in convolutions(network)}
    found = {node: by for node, by in chosen.items() if by}
    assert bool(found) == (winograd != "none")
    for node, by in found.items():
        assert growth(node, by) <= allowed(node, winograd)
        assert work(node, by) < direct_work(node)


def test_every_convolution_of_alexnet_has_less_than_half_the_work() -> None:
    for node in convolutions(alexnet()):
        by = phases(node, cpu())
        assert by is not None
        assert work(node, by) < direct_work(node) / 2


def test_maps_that_no_tile_divides_are_done_directly() -> None:
    wide = cpu("icelake-server")  # its tiles have many maps

    def chosen(maps: int) -> Phases | None:
        x, w = input_node("x", 16, 64, 27, 27), input_node("w0", maps, 64, 5, 5)
        return phases(apply("conv", x, w, name="y", stride=(1, 1), pad=(2,) * 4, groups=1), wide)

    assert chosen(64) is not None
    assert chosen(61) is None


def test_one_tap_is_done_directly() -> None:
    x, w = input_node("x", 16, 64, 14, 14), input_node("w0", 64, 64, 1, 1)
    node = apply("conv", x, w, name="y", stride=(1, 1), pad=(0, 0, 0, 0), groups=1)
    assert phases(node, cpu()) is None
