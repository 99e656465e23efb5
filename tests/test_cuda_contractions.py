"""GPU kernels of contractions, run on the host, equal the oracle: for any shape, epilogue, tile."""

import dataclasses
import math
from collections.abc import Callable
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codegen.cuda import cubins, emulator, toolchain
from codegen.kernels.cuda import simt
from codegen.kernels.cuda.simt.tile import BLOCKS, SUMS, WARPS, SimtTile, best_tile, shapes
from codegen.kernels.cuda.tile import PROCESSORS, Size
from codegen.targets import Cuda
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph, Node, Pair
from ir.ops import apply
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import EMULATED, Kernel, as_region
from tests.op_cases import draw_case
from tests.test_contractions import EPS, OPS, large, random_values, reduction, with_epilogue

BATCHES = (1, 3, 31, 32, 33, 70, 128)

emulated = pytest.mark.skipif(not emulator.available(), reason="needs a C++ compiler")


def check(graph: Graph, rng: Random) -> None:
    """The oracle's results, and the same bits for any order of threads."""
    feeds, kernel = random_values(graph, rng), Kernel(graph, EMULATED)
    forward, backward = (kernel.run(feeds, order=order) for order in ("forward", "backward"))
    expected = run_graph(graph, feeds)
    tolerance = 8 * EPS * np.sqrt(reduction(next(n for n in graph.nodes if n.op in OPS)))
    for name, reference in (expected.outputs | expected.updates).items():
        assert forward[name].tobytes() == backward[name].tobytes(), f"{name}: threads race"
        assert_close(forward[name], reference, tolerance, name)


def draw_large(op: str, rng: Random) -> Graph:
    """A contraction of several blocks along every axis, and something that follows it."""
    node = large(op, rng, BATCHES)
    return with_epilogue(node, node.inputs, rng)


# ---------------------------------------------------------------------------- results


@emulated
@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS)
def test_any_small_contraction_equals_the_oracle(op: str, seed: int) -> None:
    rng = Random(seed)
    case = draw_case(op, rng, exact=True)
    check(with_epilogue(case.node, case.leaves, rng), rng)


@emulated
def test_the_host_s_compiler_loses_no_load() -> None:
    """As GCC 12 does with vectors, in this kernel."""
    rng = Random(1)
    case = draw_case("conv", rng, exact=True)
    check(with_epilogue(case.node, case.leaves, rng), rng)


@emulated
@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS)
def test_any_large_contraction_equals_the_oracle(op: str, seed: int) -> None:
    rng = Random(seed)
    check(draw_large(op, rng), rng)


@emulated
@cases(full=100, sample=5)
@given(op=st.sampled_from(OPS), seed=SEEDS)
def test_any_tile_serves(op: str, seed: int) -> None:
    """Whatever its height, its width and the parts of its sums: a choice concerns speed only."""
    rng = Random(seed)
    with patch.object(simt, "best_tile", any_tile(rng)):
        check(draw_large(op, rng), rng)


def any_tile(rng: Random) -> Callable[[Size], SimtTile]:
    height, warps = rng.choice(shapes())
    blocks, parts = rng.randint(1, min(BLOCKS, SUMS // height)), rng.randint(1, 5)
    return lambda size: SimtTile(size, parts, warps, warps * height, blocks)


@emulated
@pytest.mark.parametrize("op", ["conv", "conv_dx"])
@cases(full=40, sample=4)
@given(seed=SEEDS)
def test_strips_of_pixels_serve(op: str, seed: int) -> None:
    """Each pixel of a strip meets borders of its own, and the last strip of a row is shorter."""
    rng = Random(seed)
    with patch.object(simt, "best_tile", any_tile(rng)):
        node = draw_row(op, rng)
        check(with_epilogue(node, node.inputs, rng), rng)


def draw_row(op: str, rng: Random) -> Node:
    """A convolution with few but long rows."""
    images, window, stride = (rng.choice(c) for c in ((1, 32, 64, 128), (3, 5, 7), (1, 2, 4)))
    pad, size = tuple(rng.randint(0, 3) for _ in range(4)), (window, rng.randint(window, 25))
    geometry: dict[str, Any] = {"stride": (stride, stride), "pad": pad, "groups": 1}
    x, w = _input("x", images, 9, *size), _input("w", 18, 9, window, window)
    node = apply("conv", x, w, name="conv", **geometry)
    if op == "conv_dx":
        dy = _input("dy", *node.type.shape)
        node = apply("conv_dx", w, dy, name="conv_dx", size=size, **geometry)
    return node


def _input(name: str, *shape: int) -> Node:
    return apply("input", name=name, type=TensorType(shape, DType.F32))


@emulated
@cases(full=60, sample=2)
@given(op=st.sampled_from(OPS), seed=SEEDS)
def test_padding_of_a_state_stays_zero(op: str, seed: int) -> None:
    """Also where columns are images, whose padding lanes are summed from anything."""
    rng = Random(seed)
    node = large(op, rng, (3, 33))
    total = apply("state", name="total", type=node.type, value=0.0)
    keep = apply("input", name="keep", type=TensorType((), DType.F32))
    value = apply("accumulate", total, node, keep, name="value")
    nodes = (*node.inputs, node, total, keep, value)
    check(Graph("accumulated", nodes, (), updates=(Pair(total, value),)), rng)


# ---------------------------------------------------------------------------- tiles


@cases(full=500, sample=100)
@given(
    st.builds(
        Size,
        products=st.integers(1, 3000),
        rows=st.integers(1, 5000),
        blocks=st.integers(1, 130),
        chunks=st.integers(1, 5000),
        depth=st.sampled_from((8, 16)),
        width=st.sampled_from((1, 4)),
    )
)
def test_tiles_cover_a_result_and_fit_a_machine(size: Size) -> None:
    tile = best_tile(size)
    assert tile == best_tile(dataclasses.replace(size))
    assert (tile.down - 1) * tile.rows < size.rows <= tile.down * tile.rows
    assert (tile.across - 1) * tile.blocks < size.blocks <= tile.across * tile.blocks
    assert tile.fits
    assert tile.warps <= WARPS
    assert tile.parts <= size.chunks
    assert tile.parts == 1 or tile.grid <= 2 * PROCESSORS


# ---------------------------------------------------------------------------- machine code


@cases(full=100, sample=2)
@given(op=st.sampled_from(OPS), seed=SEEDS)
@example(op="conv", seed=68310)  # the first one does
def test_some_tile_needs_no_more_than_registers(op: str, seed: int) -> None:
    """Also where the best has as many sums as the account of registers allows: compilers take a few
    more now and then, of few maps and images three pixels wide for one."""
    rng = Random(seed)
    with patch.object(simt, "best_tile", _large_tile(rng)):
        # It raises an Error where a thread of every tile spills, or needs a stack.
        region = as_region(draw_large(op, rng)).graph
        (variant, *_) = cubins.compiled(region, compiled_target()).variants.values()
    for launch in variant.launches:
        assert launch.shared <= 48 << 10
        assert launch.registers * math.prod(launch.block) <= 64 << 10


def _large_tile(rng: Random) -> Callable[[Size], SimtTile]:
    """One with as many sums of a thread as there may be."""

    def tile(size: Size) -> SimtTile:
        every = [SimtTile(size, 1, w, w * h, b) for h, w in shapes() for b in range(1, BLOCKS + 1)]
        fitting = [tile for tile in every if tile.fits]
        warps = rng.choice(sorted({tile.warps for tile in fitting}))
        most = max(tile.sums for tile in fitting if tile.warps == warps)
        return rng.choice([t for t in fitting if t.warps == warps and t.sums == most])

    return tile


def compiled_target() -> Cuda:
    try:
        toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    return Cuda(winograd="none", arches=("sm_80", "sm_90a"), compiler="")
