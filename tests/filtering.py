"""Random convolutions and their gradients by minimal filtering, in tiles of any size."""

from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

from codegen.kernels import Built
from codegen.kernels.axis import Adjoint, Forward, axes
from codegen.kernels.cpu.winograd.conv import Conv, ConvDx
from codegen.kernels.cpu.winograd.gradient import ConvDw
from codegen.kernels.cuda.winograd import conv as cuda
from codegen.kernels.cuda.winograd import gradient as cuda_gradient
from codegen.kernels.minimal import POINTS
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.side import side
from codegen.kernels.winograd.tiles import allowed, growth
from codegen.targets import Target
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.closeness import assert_close
from tests.kernels import Kernel

MOST = max(POINTS)
"""Products along a side."""
RULES: dict[str, dict[str, Any]] = {
    "cpu": {"conv": Conv, "conv_dx": ConvDx, "conv_dw": ConvDw},
    "cuda": {"conv": cuda.Conv, "conv_dx": cuda.ConvDx, "conv_dw": cuda_gradient.ConvDw},
}
"""By kind of device and op."""
TOLERANCE = {"conv": 2e-5, "conv_dx": 2e-5, "conv_dw": 1e-4}
"""What is promised."""
THREADS = (1, 3, 40)
"""Of a kernel that must give the same bits with each."""


def draw(op: str, rng: Random) -> Node:
    """One of the ops, with borders, strides, groups, several blocks of images and of maps."""
    window = rng.choice(((3, 3), (5, 5), (2, 3), (5, 1), (7, 4)))
    stride = rng.choice(((1, 1), (1, 1), (2, 2), (4, 3))) if op != "conv_dx" else (1, 1)
    pad = tuple(rng.randint(0, w // 2) for w in window for _ in range(2))
    size = tuple(rng.randint(w, 17) for w in window)
    odd = ((1, 9, 70), (1, 1, 1)) if op == "conv_dw" else ((1, 9, 64),)
    some = ((1, 3, 20), (1, 26, 33), *odd, (2, 5, 32), (3, 7, 16))
    groups, channels, maps = rng.choice(some)
    images = rng.choice((1, 5, 16, 19, 37))
    out = ((size[i] + pad[2 * i] + pad[2 * i + 1] - window[i]) // stride[i] + 1 for i in range(2))
    x = input_node("x", images, groups * channels, *size)
    w = input_node("w0", groups * maps, channels, *window)
    dy = input_node("dy", images, groups * maps, *out)
    geometry: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
    if op == "conv":
        return apply(op, x, w, name="y", **geometry)
    if op == "conv_dx":
        return apply(op, w, dy, name="dx", **geometry, size=size)
    return apply(op, x, dy, name="dw", **geometry, kernel=window)


def input_node(name: str, *shape: int) -> Node:
    """A fed tensor of floats."""
    return apply("input", name=name, type=TensorType(shape, DType.F32))


def tiles(node: Node, rng: Random) -> Phases:
    """Tiles of any size that keep the accuracy."""
    one, other, result = (n.type.shape[2:] for n in (*node.inputs, node))
    geometry = {
        "conv": (Forward, result, one, other),
        "conv_dx": (Adjoint, result, other, one),
        "conv_dw": (Forward, other, one, result),
    }
    kind, results, sources, window = geometry[node.op]
    along = axes(kind, node, results, sources, window)
    while True:
        sizes = [rng.randint(1, MOST + 1 + -axis.window // axis.stride) for axis in along]
        found = Phases(*(side(axis, size) for axis, size in zip(along, sizes, strict=True)))
        if growth(node, found) <= allowed(node, "fast"):
            return found


def kernel(graph: Graph, by: Phases, target: Target) -> Kernel:
    """The program's kernel by minimal filtering, whether it pays or not."""
    with patch("tests.kernels.build", partial(build, by)):
        return Kernel(graph, target)


def build(by: Phases, region: Graph, target: Target) -> Built:
    """The same before it is compiled."""
    node = filtered(region)
    built = RULES[target.kind][node.op](region, target, node, by).build()
    assert isinstance(built, Built)
    return built


def filtered(graph: Graph) -> Node:
    """The convolution of a program, or the gradient of one."""
    return next(node for node in graph.nodes if node.op in TOLERANCE)


def check(one: Kernel, feeds: dict[str, Array]) -> None:
    """Some threads give the oracle's results, and the same bits."""
    tolerance = TOLERANCE[filtered(one.graph).op]
    first, *others = (one.run(feeds, threads) for threads in THREADS)
    expected = run_graph(one.graph, feeds)
    for name, reference in (expected.outputs | expected.updates).items():
        assert_close(first[name], reference, tolerance, name)
        for other in others:
            assert other[name].tobytes() == first[name].tobytes(), f"{name}: threads change it"
