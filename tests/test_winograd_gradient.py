"""Weight gradients by minimal filtering equal the oracle, for any shape, tile and epilogue."""

from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.kernels.axis import Forward, axes
from codegen.kernels.cpu.winograd import gradient, strips
from codegen.kernels.cpu.winograd.phases import Phases
from codegen.kernels.cpu.winograd.side import side
from codegen.kernels.cpu.writer import Built
from codegen.targets import Cpu, cpu
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import Kernel, host
from tests.test_contractions import random_values, with_epilogue

TOLERANCE = 1e-4
"""What is promised of weight gradients, of up to 7 x 7 products."""
PRODUCTS = 7

# ---------------------------------------------------------------------------- programs


def draw(rng: Random) -> Node:
    """A weight gradient with borders, strides, groups, several blocks of images and of maps."""
    window = rng.choice(((3, 3), (5, 5), (2, 3), (5, 1), (7, 4)))
    stride = rng.choice(((1, 1), (1, 1), (2, 2), (4, 3)))
    pad = tuple(rng.randint(0, w // 2) for w in window for _ in range(2))
    size = tuple(rng.randint(w, 17) for w in window)
    groups, channels, maps = rng.choice(
        ((1, 3, 20), (1, 26, 33), (1, 9, 70), (1, 1, 1), (2, 5, 32), (3, 7, 16))
    )
    images = rng.choice((1, 5, 16, 19, 37))
    out = tuple(
        (size[i] + pad[2 * i] + pad[2 * i + 1] - window[i]) // stride[i] + 1 for i in range(2)
    )
    x, dy = _input("x", images, groups * channels, *size), _input("dy", images, groups * maps, *out)
    geometry: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups, "kernel": window}
    return apply("conv_dw", x, dy, name="dw", **geometry)


def _input(name: str, *shape: int) -> Node:
    return apply("input", name=name, type=TensorType(shape, DType.F32))


def tiles(node: Node, rng: Random) -> Phases:
    """Tiles of any size that has at most 7 x 7 products."""
    x, dy = (one.type.shape[2:] for one in node.inputs)
    along = axes(Forward, node, dy, x, node.type.shape[2:])
    sizes = [rng.randint(1, PRODUCTS + 1 + -axis.window // axis.stride) for axis in along]
    return Phases(*(side(axis, size) for axis, size in zip(along, sizes, strict=True)))


# ---------------------------------------------------------------------------- kernels


def chunked(cached: int) -> Cpu:
    """This machine, with so many bytes to work on at a time."""
    return replace(host(), tuning=replace(host().tuning, chunk=cached))


def kernel(graph: Graph, by: Phases, target: Cpu) -> Kernel:
    """The program's kernel by minimal filtering, whether it pays or not."""

    def build(region: Graph, target: Cpu) -> Built:
        node = next(node for node in region.nodes if node.op == "conv_dw")
        return gradient.ConvDw(region, target, node, by).build()

    with patch("tests.kernels.build", build):
        return Kernel(graph, target)


def check(one: Kernel, feeds: dict[str, Array]) -> None:
    """One, two and three threads give the oracle's results, and the same bits."""
    first, *others = (one.run(feeds, threads) for threads in (1, 2, 3))
    expected = run_graph(one.graph, feeds)
    for name, reference in (expected.outputs | expected.updates).items():
        assert_close(first[name], reference, TOLERANCE, name)
        for other in others:
            assert other[name].tobytes() == first[name].tobytes(), f"{name}: threads change it"


# ---------------------------------------------------------------------------- laws


@cases(full=24, sample=3)
@given(seed=SEEDS, cached=st.sampled_from((300_000, 10**7)), longest=st.sampled_from((1, 3, 12)))
def test_any_weight_gradient_equals_the_oracle(seed: int, cached: int, longest: int) -> None:
    rng = Random(seed)
    node = draw(rng)
    graph = with_epilogue(node, node.inputs, rng)
    with patch.object(strips, "LONGEST", longest):
        check(kernel(graph, tiles(node, rng), chunked(cached)), random_values(graph, rng))


@pytest.mark.parametrize("mcpu", ["haswell", "x86-64"])
@cases(full=6, sample=1)
@given(seed=SEEDS)
def test_smaller_register_files_serve_too(mcpu: str, seed: int) -> None:
    rng = Random(seed)
    node = draw(rng)
    graph = with_epilogue(node, node.inputs, rng)
    check(kernel(graph, tiles(node, rng), cpu(mcpu)), random_values(graph, rng))


def test_other_architectures_get_their_vector_instructions() -> None:
    node = draw(Random(0))
    graph = with_epilogue(node, node.inputs, Random(0))
    target = cpu("neoverse-v1", "aarch64-linux-gnu")
    assert "fmla\t" in kernel(graph, tiles(node, Random(0)), target).assembly


@cases(full=20, sample=3)
@given(seed=SEEDS)
def test_scratch_keeps_to_its_limit(seed: int) -> None:
    """What is transformed at a time takes no more than it may, or is one strip."""
    rng = Random(seed)
    node = draw(rng)
    graph, by = Graph("gradient", (*node.inputs, node), (node,)), tiles(node, rng)
    least = kernel(graph, by, chunked(1)).built.scratch
    for cached in (10**6, 10**7):
        assert kernel(graph, by, chunked(cached)).built.scratch <= least + cached
