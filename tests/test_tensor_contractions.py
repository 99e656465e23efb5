"""Contractions on tensor cores equal the oracle, which rounds operands as they do.

Their CUDA C runs on the host, fragments, asynchronous copies and all (`codegen/cuda/emulator.py`).
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cost.nominal import VECTOR_FLOPS, nominal_work
from codegen.cuda import cubins, emulator
from codegen.kernels.cuda.form import FORMS
from codegen.kernels.cuda.tensor import mma, tma, wgmma
from codegen.kernels.cuda.tensor.mma.tile import MmaTile
from codegen.kernels.cuda.tensor.tile import TensorTile
from codegen.kernels.cuda.tensor.tma.tile import BoxTile
from codegen.kernels.cuda.tensor.wgmma.tile import GROUP, HIGHEST, GroupTile
from codegen.kernels.cuda.tile import PROCESSORS, Size
from ir.cost import flops
from ir.eval import run_graph
from ir.graph import Graph, Node, Pair, ancestors
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import EMULATED, Kernel, as_region
from tests.op_cases import draw_case
from tests.test_contractions import EPS, OPS, large, random_values, reduction, with_epilogue
from tests.test_cuda_contractions import BATCHES, compiled_target, draw_row

TILES: dict[Any, type[TensorTile]] = {mma: MmaTile, wgmma: GroupTile, tma: BoxTile}
"""By what makes use of them."""
TARGETS = {"warps": EMULATED, "groups": dataclasses.replace(EMULATED, arches=("sm_90a",))}
"""By what multiplies together."""
ROUNDED = tuple(form for form in FORMS if form != "f32")
BF16 = 2.0**-8
"""The largest relative difference of neighbouring bf16 numbers."""

emulated = pytest.mark.skipif(not emulator.available(), reason="needs a C++ compiler")


def in_form(node: Node, form: str) -> Node:
    """The same contraction of operands that are rounded."""
    attrs: dict[str, Any] = dict(node.attrs) | ({"math": "tf32"} if form == "tf32" else {})
    leaves = (_stored(x) for x in node.inputs) if form == "bf16" else node.inputs
    return apply(node.op, *leaves, name=node.name, **attrs)


def _stored(leaf: Node) -> Node:
    return apply(leaf.op, name=leaf.name, type=leaf.type.with_dtype(DType.BF16))


def check(graph: Graph, rng: Random, by: str) -> None:
    """The oracle's results, and the same bits for any order of threads.

    Of products in groups also whether they are done early or late.
    """
    feeds, kernel = random_values(graph, rng), Kernel(graph, TARGETS[by])
    forward, backward = (kernel.run(feeds, order=order) for order in ("forward", "backward"))
    expected = run_graph(graph, feeds)
    tolerance = 8 * EPS * np.sqrt(reduction(next(n for n in graph.nodes if n.op in OPS)))
    made = {node.name: node for node in graph.outputs}
    made |= {pair.leaf.name: pair.value for pair in graph.updates}
    for name, reference in (expected.outputs | expected.updates).items():
        assert forward[name].tobytes() == backward[name].tobytes(), f"{name}: threads race"
        if (largest := largest_rounded(graph, made[name], feeds)) is None:
            assert_close(forward[name], reference, tolerance, name)
        else:
            assert_nearly_equal(forward[name], reference, largest, tolerance, name)


def largest_rounded(graph: Graph, result: Node, feeds: dict[str, Array]) -> Array | None:
    """Of each element, the largest value that is rounded to bf16 on the way to a result."""
    on_the_way = ancestors([result])
    rounded = [
        node
        for node in graph.nodes
        if node in on_the_way and node.inputs and node.type.dtype is DType.BF16
    ]
    if not rounded:
        return None
    whole = dataclasses.replace(graph, outputs=tuple(rounded), updates=())
    values = [value.ravel() for value in run_graph(whole, feeds).outputs.values()]
    return np.asarray(np.max(np.abs(values), axis=0))


def assert_nearly_equal(
    value: Array, reference: Array, largest: Array, tolerance: float, what: str
) -> None:
    """Values that differ in their last bits may be rounded to neighbours, which is rare."""
    scale = float(np.max(np.abs(reference)))
    error = np.abs(value - reference)
    bound = 2 * BF16 * largest.reshape(error.shape) + tolerance * scale
    assert (error <= bound).all(), what
    assert np.mean(error > tolerance * scale) < 0.02 + 4 / error.size, what


def draw_large(op: str, form: str, rng: Random) -> Graph:
    """A contraction of several blocks along every axis, and something that follows it."""
    node = in_form(large(op, rng, BATCHES), form)
    return with_epilogue(node, node.inputs, rng)


# ---------------------------------------------------------------------------- results


@emulated
@pytest.mark.parametrize("by", ["warps", pytest.param("groups", marks=pytest.mark.full)])
@pytest.mark.parametrize("form", ROUNDED)
@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS)
def test_any_small_contraction_equals_the_oracle(op: str, form: str, by: str, seed: int) -> None:
    rng = Random(seed)
    node = in_form(draw_case(op, rng, exact=True).node, form)
    check(with_epilogue(node, node.inputs, rng), rng, by)


@emulated
@pytest.mark.parametrize("by", ["groups", pytest.param("warps", marks=pytest.mark.full)])
@pytest.mark.parametrize("form", ROUNDED)
@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS)
def test_any_large_contraction_equals_the_oracle(op: str, form: str, by: str, seed: int) -> None:
    rng = Random(seed)
    check(draw_large(op, form, rng), rng, by)


@emulated
@pytest.mark.parametrize("by", TARGETS)
@cases(full=60, sample=2)
@given(op=st.sampled_from(OPS), form=st.sampled_from(ROUNDED), seed=SEEDS)
def test_any_tile_serves(op: str, form: str, by: str, seed: int) -> None:
    """Whatever its warps and the parts of its sums: a choice concerns speed only."""
    rng = Random(seed)
    with any_tile(rng):
        check(draw_large(op, form, rng), rng, by)


@contextmanager
def any_tile(rng: Random, parts: int = 5) -> Iterator[None]:
    """Tiles that fit are drawn, not chosen."""
    parts = rng.randint(1, parts)
    drawn = {engine: _drawn(engine, rng, parts) for engine in TILES}
    with ExitStack() as stack:
        for engine, tile in drawn.items():
            stack.enter_context(patch.object(engine, "best_tile", tile))
        yield


def _drawn(engine: Any, rng: Random, parts: int) -> Callable[[Size], TensorTile]:
    of, warps = (mma.tile, 1) if engine is mma else (wgmma.tile, GROUP)
    shapes = [(*grid, h, w) for grid in of.GRIDS for h in of.HEIGHTS for w in of.WIDTHS]
    rng.shuffle(shapes)

    def tile(size: Size) -> TensorTile:
        every = (
            TILES[engine](
                size, parts, warps * down * side, down * height, side * width, height, width
            )
            for down, side, height, width in shapes
        )
        return next(tile for tile in every if tile.fits)

    return tile


@emulated
@pytest.mark.parametrize("by", TARGETS)
@pytest.mark.parametrize("op", ["conv", "conv_dx"])
@cases(full=30, sample=1)
@given(form=st.sampled_from(ROUNDED), seed=SEEDS)
def test_strips_of_pixels_serve(op: str, form: str, by: str, seed: int) -> None:
    """Each pixel of a strip meets borders of its own, and the last strip of a row is shorter."""
    rng = Random(seed)
    with any_tile(rng):
        node = in_form(draw_row(op, rng), form)
        check(with_epilogue(node, node.inputs, rng), rng, by)


@emulated
@cases(full=60, sample=2)
@given(st.sampled_from(OPS), st.sampled_from(ROUNDED), st.sampled_from(sorted(TARGETS)), SEEDS)
def test_padding_of_a_state_stays_zero(op: str, form: str, by: str, seed: int) -> None:
    """Also where columns are images, whose padding lanes are summed from anything."""
    rng = Random(seed)
    node = in_form(large(op, rng, (3, 33)), form)
    wide = node if node.type.dtype is DType.F32 else apply("cast", node, name="wide", to="f32")
    total = apply("state", name="total", type=wide.type, value=0.0)
    keep = apply("input", name="keep", type=TensorType((), DType.F32))
    value = apply("accumulate", total, wide, keep, name="value")
    nodes = dict.fromkeys((*node.inputs, node, wide, total, keep, value))
    check(Graph("accumulated", tuple(nodes), (), updates=(Pair(total, value),)), rng, by)


# ---------------------------------------------------------------------------- tiles


def _is_drawn(size: Size) -> bool:
    """Several taps share columns, in bf16 only, or rows that are whole: one tile has them all."""
    rows, columns = size.apart
    if size.taps > 1 and not rows:
        shared = columns > 0 and size.form.name == "bf16"
    else:
        shared = size.whole or not rows
    return shared and not (size.whole and size.rows > HIGHEST) and tma.has_room(size)


@pytest.mark.parametrize("engine", TILES, ids=lambda engine: engine.__name__.rpartition(".")[-1])
@cases(full=300, sample=20)
@given(
    size=st.builds(
        Size,
        products=st.integers(1, 3000),
        rows=st.one_of(st.integers(1, 384), st.integers(1, 5000)),
        blocks=st.integers(1, 33).map(lambda n: 4 * n),
        chunks=st.integers(1, 5000),
        depth=st.sampled_from((16, 32)),
        width=st.sampled_from((1, 2, 4, 8)),
        flipped=st.tuples(st.booleans(), st.booleans()),
        form=st.sampled_from([FORMS[form] for form in ROUNDED]),
        boxes=st.sampled_from(((0, 0), (0, 32), (0, 128), (32, 0))),
        whole=st.booleans(),
        taps=st.sampled_from((1, 1, 3, 5, 7)),
        apart=st.sampled_from(((0, 0), (0, 32), (0, 64), (0, 128), (24, 0), (64, 0))),
    ).filter(_is_drawn)
)
def test_tiles_cover_a_result_and_fit_a_machine(engine: Any, size: Size) -> None:
    tile = engine.best_tile(size)
    assert tile == engine.best_tile(dataclasses.replace(size))
    assert (tile.down - 1) * tile.rows < size.rows <= tile.down * tile.rows
    assert (tile.across - 1) * tile.blocks < size.blocks <= tile.across * tile.blocks
    assert tile.fits
    assert tile.parts <= size.chunks
    assert tile.parts == 1 or tile.grid <= 2 * PROCESSORS


@cases(full=60, sample=20)
@given(op=st.sampled_from(OPS), seed=SEEDS)
def test_what_is_predicted_follows_from_the_form(op: str, seed: int) -> None:
    node = large(op, Random(seed), BATCHES)
    f32, tf32, bf16 = (
        nominal_work(Graph(form, (*each.inputs, each), (each,)))
        for form in FORMS
        for each in [in_form(node, form)]
    )
    count = flops(node) // VECTOR_FLOPS
    assert (f32.multiply_adds, f32.tf32, f32.bf16) == (count, 0, 0)
    assert (tf32.multiply_adds, tf32.tf32, tf32.bf16) == (0, count, 0)
    assert (bf16.multiply_adds, bf16.tf32, bf16.bf16) == (0, 0, count)


# ---------------------------------------------------------------------------- machine code


@pytest.mark.parametrize("arches", [("sm_80", "sm_90"), ("sm_90a",)], ids=",".join)
@cases(full=50, sample=2)
@given(op=st.sampled_from(OPS), form=st.sampled_from(ROUNDED), seed=SEEDS)
def test_no_tile_needs_more_than_registers(
    arches: tuple[str, ...], op: str, form: str, seed: int
) -> None:
    rng = Random(seed)
    target = dataclasses.replace(compiled_target(), arches=arches)
    with any_tile(rng, parts=1), patch.object(cubins, "OTHERS", 0):
        # It raises an Error where a thread spills, or needs a stack.
        region = as_region(draw_large(op, form, rng)).graph
        (variant, *_) = cubins.compiled(region, target).variants.values()
        (launch,) = variant.launches
    assert launch.registers * math.prod(launch.block) <= 64 << 10
