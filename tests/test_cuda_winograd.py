"""GPU kernels by minimal filtering, run on the host, equal the oracle; they are chosen by sizes."""

import dataclasses
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda import cubins, emulator
from codegen.kernels import build
from codegen.kernels.cuda import simt
from codegen.kernels.cuda.conv import Conv, ConvDx
from codegen.kernels.cuda.conv_dw import ConvDw
from codegen.kernels.cuda.winograd import choice, turn
from codegen.kernels.cuda.winograd.maps import maps_of, source_of
from codegen.kernels.cuda.winograd.turn import TURNS, Turn, turns_of
from codegen.kernels.cuda.writer import WARP, Built
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.tiles import GROWTH, allowed, candidates, growth
from codegen.targets import Cuda
from codegen.tolerance import bound
from ir.cost import flops
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.ops import apply
from tests import filtering
from tests.closeness import assert_close
from tests.counts import cases
from tests.filtering import TOLERANCE, draw, filtered, input_node, kernel, tiles
from tests.graphs import SEEDS
from tests.kernels import EMULATED, as_region
from tests.test_contractions import random_values, with_epilogue
from tests.test_cuda_contractions import any_tile, compiled_target

OPS = ("conv", "conv_dx", "conv_dw")
DIRECT: dict[str, Any] = {"conv": Conv, "conv_dx": ConvDx, "conv_dw": ConvDw}

emulated = pytest.mark.skipif(not emulator.available(), reason="needs a C++ compiler")


# ---------------------------------------------------------------------------- results


def check(node: Node, by: Phases, rng: Random) -> None:
    """The oracle's results, and the same bits for any order of threads. The workspace begins as
    NaN, and so do padding lanes of operands."""
    graph = with_epilogue(node, node.inputs, rng)
    feeds, made = random_values(graph, rng), kernel(graph, by, EMULATED)
    forward, backward = (made.run(feeds, order=order) for order in ("forward", "backward"))
    expected = run_graph(graph, feeds)
    for name, reference in (expected.outputs | expected.updates).items():
        assert forward[name].tobytes() == backward[name].tobytes(), f"{name}: threads race"
        assert_close(forward[name], reference, TOLERANCE[node.op], name)


@emulated
@pytest.mark.parametrize("op", OPS)
@cases(full=24, sample=2)
@given(seed=SEEDS)
def test_any_convolution_equals_the_oracle(op: str, seed: int) -> None:
    rng = Random(seed)
    node = draw(op, rng)
    check(node, tiles(node, rng), rng)


@emulated
@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS, rows=st.integers(3, 5))
def test_turns_serve(op: str, seed: int, rows: int) -> None:
    """Some images at a time, and some rows of tiles."""
    rng = Random(seed)
    node = draw(op, rng)
    by = tiles(node, rng)
    least = Turn(by, range(1), range(rows)).bytes(maps_of(node, by).total)
    with patch.object(turn, "LIMIT", least), patch.object(turn, "TURNS", 40):
        check(node, by, rng)


@emulated
@pytest.mark.parametrize("op", OPS)
@cases(full=12, sample=1)
@given(seed=SEEDS)
def test_any_tile_of_a_product_serves(op: str, seed: int) -> None:
    """Also those that cut sums into parts."""
    rng = Random(seed)
    with patch.object(simt, "best_tile", any_tile(rng)):
        node = draw(op, rng)
        check(node, tiles(node, rng), rng)


@emulated
@pytest.mark.full
@pytest.mark.parametrize(
    ("op", "sizes"),
    [("conv", (4, 384, 32)), ("conv_dx", (4, 32, 384)), ("conv_dw", (256, 4, 32))],
)
def test_long_sums_keep_the_promise(op: str, sizes: tuple[int, int, int]) -> None:
    """In the tiles that round most of those allowed."""
    node = convolution(op, *sizes)
    by = max(candidates(node, "fast"), key=lambda each: growth(node, each))
    check(node, by, Random(0))


# ---------------------------------------------------------------------------- turns


@cases(full=200, sample=40)
@given(op=st.sampled_from(OPS), seed=SEEDS, limit=st.integers(1 << 14, 1 << 22))
def test_turns_cover_all_tiles_within_the_limit(op: str, seed: int, limit: int) -> None:
    node = draw(op, Random(seed))
    by = tiles(node, Random(seed))
    with patch.object(turn, "LIMIT", limit):
        found = turns_of(node, by)
    assert len(found) <= TURNS
    assert all(each.bytes(maps_of(node, by).total) <= limit for each in found)
    blocks = -(-source_of(node).type.shape[0] // WARP)
    pairs = [(image, row) for each in found for image in each.images for row in each.rows]
    every = [(image, row) for image in range(blocks) for row in range(by.down.tiles)]
    assert not found or sorted(pairs) == every


def test_a_workspace_does_not_grow_with_the_batch() -> None:
    most = 0
    for images in (128, 1024, 4096):
        node = convolution("conv", images, 256, 384)
        found = turns_of(node, chosen(node) or pytest.fail("it pays"))
        most = max(each.bytes(256 + 384) for each in found)
        assert most <= turn.LIMIT
        assert len(found) > 1 or images == 128


# ---------------------------------------------------------------------------- the choice


def convolution(op: str, images: int, channels: int, maps: int, **attrs: Any) -> Node:
    """3x3 on 13x13, with borders."""
    x, w = input_node("x", images, channels, 13, 13), input_node("w0", maps, channels, 3, 3)
    geometry: dict[str, Any] = {"stride": (1, 1), "pad": (1, 1, 1, 1), "groups": 1, **attrs}
    if op == "conv":
        return apply(op, x, w, name="y", **geometry)
    dy = input_node("dy", images, maps, 13, 13)
    if op == "conv_dw":
        return apply(op, x, dy, name="dw", **geometry, kernel=(3, 3))
    return apply(op, w, dy, name="dx", **geometry, size=(13, 13))


def chosen(node: Node, winograd: str = "fast") -> Phases | None:
    return choice.phases(direct(node), dataclasses.replace(EMULATED, winograd=winograd))


def direct(node: Node) -> choice.Direct:
    region = region_of(node)
    kernel: choice.Direct = DIRECT[node.op](region, EMULATED, filtered(region))
    return kernel


def region_of(node: Node) -> Graph:
    return as_region(Graph("region", (*node.inputs, node), (node,))).graph


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("winograd", GROWTH)
def test_it_is_used_where_it_is_accurate_and_costs_less(op: str, winograd: str) -> None:
    node = convolution(op, 128, 192, 192)
    by = chosen(node, winograd)
    assert (by is None) == (winograd == "none")
    if by:
        assert growth(node, by) <= allowed(node, winograd)
        assert choice.cost(node, by) <= choice.GAIN * choice.direct_cost(direct(node))
        others = [choice.cost(node, each) for each in candidates(node, winograd)]
        assert choice.cost(node, by) == min(others)


def test_mild_tiles_round_less() -> None:
    node = convolution("conv", 128, 192, 192)
    mild, fast = (chosen(node, winograd) for winograd in ("mild", "fast"))
    assert mild is not None
    assert fast is not None
    assert growth(node, mild) < growth(node, fast)


@pytest.mark.parametrize("op", OPS)
def test_little_work_is_done_directly(op: str) -> None:
    """Launches alone would cost more."""
    assert chosen(convolution(op, 32, 8, 8)) is None


def test_one_tap_is_done_directly() -> None:
    x, w = input_node("x", 128, 192, 13, 13), input_node("w0", 192, 192, 1, 1)
    assert chosen(apply("conv", x, w, name="y", stride=(1, 1), pad=(0,) * 4, groups=1)) is None


@pytest.mark.parametrize("op", OPS)
def test_tensor_cores_have_no_minimal_filtering(op: str) -> None:
    assert chosen(convolution(op, 128, 192, 192)) is not None
    assert chosen(convolution(op, 128, 192, 192, math="tf32")) is None


@pytest.mark.parametrize("op", OPS)
def test_results_of_tensor_cores_are_allowed_no_more(op: str) -> None:
    for math, more in (("f32", TOLERANCE[op]), ("tf32", 0.0)):
        node = convolution(op, 32, 8, 8, math=math)
        result = np.zeros(node.type.shape)
        fast, none = (bound(region_of(node), result, 0, each) for each in ("fast", "none"))
        assert fast - none == pytest.approx(more)


def test_what_takes_too_much_memory_is_done_directly() -> None:
    node = convolution("conv", 128, 192, 192)
    with patch.object(turn, "LIMIT", 1 << 20):
        assert chosen(node) is None


@pytest.mark.parametrize("op", OPS)
def test_a_target_says_whether_it_may_be_used(op: str) -> None:
    """Launches of two operands, of products, and back; else of sums, and perhaps of their parts."""
    node = convolution(op, 128, 192, 192)
    region = region_of(node)
    fast, none = (
        build(region, dataclasses.replace(EMULATED, winograd=each)) for each in ("fast", "none")
    )
    assert isinstance(fast, Built)
    assert isinstance(none, Built)
    assert len(fast.launches) >= 4
    assert len(none.launches) <= 2
    # Fewer multiply-adds are predicted, by no more than tiles of any size save.
    assert none.flops is None
    assert fast.flops
    assert flops(node) / 8 < fast.flops < flops(node)


# ---------------------------------------------------------------------------- machine code


@cases(full=20, sample=2)
@given(op=st.sampled_from(OPS), seed=SEEDS)
def test_transforms_stay_in_registers(op: str, seed: int) -> None:
    """The largest tiles that there are, with what follows them."""
    rng = Random(seed)
    node = draw(op, rng)
    graph = with_epilogue(node, node.inputs, rng)
    by = max(candidates(node, "fast"), key=lambda each: each.products, default=tiles(node, rng))
    with patch.object(cubins, "build", partial(filtering.build, by)):
        # It raises an Error where a thread spills, or needs a stack.
        made = cubins.compiled(as_region(graph).graph, compiled_target())
    launches = [launch for variant in made.variants.values() for launch in variant.launches]
    assert {launch.block[0] for launch in launches} == {WARP}


def test_the_choice_does_not_follow_from_the_architecture() -> None:
    kernel = direct(convolution("conv", 128, 192, 192))
    arches = ("sm_80", "sm_86", "sm_90a")
    assert len({choice.phases(kernel, Cuda("fast", (arch,), "")) for arch in arches}) == 1
