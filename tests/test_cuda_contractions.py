"""GPU kernels of contractions, run on the host, equal the oracle: for any shape, epilogue, tile."""

import dataclasses
from collections.abc import Callable
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda import cubins, emulator, toolchain
from codegen.kernels.cuda import product
from codegen.kernels.cuda.tile import BLOCKS, PROCESSORS, WARPS, Size, Tile, best_tile
from codegen.targets import Cuda
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph, Pair
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
@cases(full=12, sample=2)
@given(seed=SEEDS)
def test_any_small_contraction_equals_the_oracle(op: str, seed: int) -> None:
    rng = Random(seed)
    case = draw_case(op, rng, exact=True)
    check(with_epilogue(case.node, case.leaves, rng), rng)


@emulated
@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=2)
@given(seed=SEEDS)
def test_any_large_contraction_equals_the_oracle(op: str, seed: int) -> None:
    rng = Random(seed)
    check(draw_large(op, rng), rng)


@emulated
@cases(full=100, sample=12)
@given(op=st.sampled_from(OPS), seed=SEEDS)
def test_any_tile_serves(op: str, seed: int) -> None:
    """Whatever its height, its width and the parts of its sums: a choice concerns speed only."""
    rng = Random(seed)
    with patch.object(product, "best_tile", _any_tile(rng)):
        check(draw_large(op, rng), rng)


def _any_tile(rng: Random) -> Callable[[Size], Tile]:
    warps, blocks, parts = rng.randint(1, WARPS), rng.randint(1, BLOCKS), rng.randint(1, 5)
    return lambda size: Tile(size, warps, blocks, parts)


@emulated
@cases(full=60, sample=5)
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
    )
)
def test_tiles_cover_a_result_and_fit_a_machine(size: Size) -> None:
    tile = best_tile(size)
    assert tile == best_tile(dataclasses.replace(size))
    assert (tile.down - 1) * tile.rows < size.rows <= tile.down * tile.rows
    assert (tile.across - 1) * tile.blocks < size.blocks <= tile.across * tile.blocks
    assert tile.warps <= WARPS
    assert tile.blocks <= BLOCKS
    assert tile.parts <= size.chunks
    assert tile.parts == 1 or tile.grid <= 2 * PROCESSORS


# ---------------------------------------------------------------------------- machine code


@pytest.mark.parametrize("warps", [1, WARPS])
@pytest.mark.parametrize("op", OPS)
def test_no_tile_needs_more_than_registers(op: str, warps: int) -> None:
    graph = draw_large(op, Random(0))
    with patch.object(product, "best_tile", lambda size: Tile(size, warps, BLOCKS, 1)):
        # It raises an Error where a thread spills, or needs a stack.
        (launch,) = cubins.compiled(as_region(graph).graph, _target()).launches
    assert launch.shared <= 48 << 10
    assert launch.registers * 32 * warps <= 64 << 10


def _target() -> Cuda:
    try:
        toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    return Cuda(exact=False, arches=("sm_80", "sm_90a"), compiler="")
