"""Random training-forward networks, well typed by construction, and one big regular one."""

from collections.abc import Callable
from math import prod
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ir.eval import random_feeds
from ir.graph import AttrValue, Graph, Names, Node
from ir.leaf import copied, logical_name
from ir.op import Array
from ir.ops import apply
from ir.ops.window import positions
from ir.type import DType, TensorType

SEEDS = st.integers(0, 2**32 - 1)
MOST_CHANNELS = 8
MOST_PIXELS = 12


def networks(*, differentiable: bool = False) -> st.SearchStrategy[Graph]:
    """Random networks; a failure shrinks to one of few layers."""

    def network(layers: int, seed: int) -> Graph:
        return random_graph(Random(seed), layers, differentiable=differentiable)

    return st.builds(network, layers=st.integers(0, 12), seed=SEEDS)


def random_graph(rng: Random, layers: int | None = None, *, differentiable: bool = False) -> Graph:
    """An unplaced network from its inputs to `loss` and `accuracy`, tame in its numbers.

    `differentiable`: at the values of `feeds`, every gradient is the derivative. (Dead ReLUs make
    ties; where `ties="all"`, a max_pool gives each of these the whole gradient.)
    """
    net = _Network(rng, ties=("first",) if differentiable else ("all", "first"), shared=0.1)
    x = net.images()
    for _ in range(rng.randint(1, 10) if layers is None else layers):
        x = net.layer(x)
    return net.program(x)


def feeds(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Feeds that leave no parameter zero and make ties and exact zeros improbable."""
    random = np.random.default_rng(seed)
    found = random_feeds(graph, seed)
    for leaf in (x for x in graph.leaves("input", "param", "state") if not copied(x)):
        name = logical_name(leaf)
        if leaf.op != "input":
            found[name] = found[name] + random.normal(0, 0.05, found[name].shape)
        elif leaf.type.dtype.is_float and leaf.type.rank >= 2:
            found[name] = random.normal(0, 1, found[name].shape)
    return found


def big_network(nodes: int) -> Graph:
    """Residual blocks, some of them in two groups, about `nodes` nodes in all."""
    net = _Network(Random(0), ties=("all",), shared=0.0)
    x = net.input("images", DType.F32, 4, 8, 6, 6)
    blocks = 0
    while len(net.nodes) < nodes - 16:
        groups = 1 if blocks % 3 == 0 else 2
        y = net.activated(net.same_conv(x, groups))
        x = net.activated(net.emit("add", x, net.same_conv(y, groups)))
        blocks += 1
    return net.program(x)


class _Network:
    """A program under construction."""

    def __init__(self, rng: Random, ties: tuple[str, ...], shared: float) -> None:
        self.rng = rng
        self.nodes: list[Node] = []
        self._names = Names()
        self._ties = ties
        self._shared = shared
        self._params: dict[TensorType, list[Node]] = {}
        self._results: list[Node] = []
        self._streams = 0

    # ------------------------------------------------------------------------ nodes

    def emit(self, op: str, *inputs: Node, name: str = "", **attrs: Any) -> Node:
        """One more node. A leaf takes its `type` among the attributes."""
        node = apply(op, *inputs, name=self._names.fresh(name or op), **attrs)
        self.nodes.append(node)
        return node

    def input(self, name: str, dtype: DType, *shape: int, **attrs: AttrValue) -> Node:
        """A fed tensor; the same node for the same name."""
        known = (node for node in self.nodes if node.op == "input" and node.name == name)
        return next(known, None) or self.emit(
            "input", name=name, type=TensorType(shape, dtype), **attrs
        )

    def param(self, name: str, *shape: int, spread: float, value: float = 0.0) -> Node:
        """A parameter: now and then one that is in use already."""
        alike = self._params.setdefault(TensorType(shape, DType.F32), [])
        if not alike or not self.chance(self._shared):
            std, decay = float(f"{spread:.3g}"), self.rng.choice((0.0, 1.0))
            type = TensorType(shape, DType.F32)
            alike.append(
                self.emit("param", name=name, type=type, value=value, std=std, decay=decay)
            )
            return alike[-1]
        return self.rng.choice(alike)

    def chance(self, probability: float) -> bool:
        """True this often."""
        return self.rng.random() < probability

    # ------------------------------------------------------------------------ begin and end

    def images(self) -> Node:
        """What the first layer reads."""
        batch, size = self.rng.randint(2, 4), (self.rng.randint(4, 12), self.rng.randint(4, 12))
        if self.chance(0.3):
            return self._stored_images(batch, size)
        return self.input("images", DType.F32, batch, self._maps(), *size)

    def _stored_images(self, batch: int, size: tuple[int, int]) -> Node:
        channels, room = self.rng.choice((2, 3, 4)), self.rng.randint(0, 3)
        x = self.input(
            "images", DType.U8, batch, channels, size[0] + room, size[1] + self.rng.randint(room, 4)
        )
        if self.chance(0.7):
            offset = self.input("offset", DType.I32, batch, 2, below=room + 1)
            flip = self.input("flip", DType.I32, batch, below=2)
            x = self.emit("crop", x, offset, flip, size=size)
        x = self.emit("scale", self.emit("cast", x, to="f32"), by=1 / 64)
        if self.chance(0.7):
            x = self.emit("center", x, self.input("mean", DType.F32, *x.type.shape[1:]))
        if self.chance(0.5):
            shift = self.input("shift", DType.F32, *x.type.shape[:2])
            x = self.emit("channel_shift", x, shift)
        return self.emit("scale_by", x, self.input("gain", DType.F32)) if self.chance(0.5) else x

    def program(self, x: Node) -> Graph:
        """Classify what the last layer gives, and end."""
        if x.type.rank == 4:
            x = self.flatten(x)
        if self.chance(0.5):
            x = self.relu(self.dense(x))
        classes = self.rng.randint(2, 6)
        logits = self._with_bias(self._matrix_product(x, classes))
        targets = (
            self.input("labels", DType.I32, x.type.shape[0], below=classes),
            self.input("weights", DType.F32, x.type.shape[0]),
        )
        outputs = [
            self.emit("cross_entropy", logits, *targets, name="loss"),
            self.emit("accuracy", logits, *targets, top=self.rng.choice((1, 2))),
        ]
        if self.chance(0.3):
            outputs.append(self.rng.choice([*self._results, self.emit("softmax", logits)]))
        return Graph("net", tuple(self.nodes), tuple(outputs))

    # ------------------------------------------------------------------------ layers

    def layer(self, x: Node) -> Node:
        """Any layer on top of x."""
        layers = _VECTOR_LAYERS if x.type.rank == 2 else _IMAGE_LAYERS
        y = self.rng.choice(layers)(self, x)
        self._results.append(y)
        return y

    def conv(self, x: Node) -> Node:
        """A convolution of any geometry, often with bias and activation."""
        kernel, stride, pad = self._geometry(x)
        y = self._convolved(x, self._maps(), self._groups(x), kernel, stride, pad)
        return self._finished(y)

    def same_conv(self, x: Node, groups: int | None = None) -> Node:
        """A convolution whose result has the type of x, with bias."""
        kernel = self.rng.randint(1, 3), self.rng.randint(1, 3)
        pad = tuple(p for k in kernel for p in ((k - 1) // 2, k // 2))
        maps = x.type.shape[1]
        groups = groups or self._groups(x, of=maps)
        return self._with_bias(self._convolved(x, maps, groups, kernel, (1, 1), pad))

    def twice(self, x: Node) -> Node:
        """One convolution and its weights, used twice."""
        groups, maps = self._groups(x), x.type.shape[1]
        w = self.param("w", maps, maps // groups, 3, 3, spread=(9 * maps // groups) ** -0.5)
        for _ in range(2):
            x = self.emit("conv", x, w, pad=(1, 1, 1, 1), groups=groups)
        return x

    def local(self, x: Node) -> Node:
        """A locally connected layer."""
        kernel, stride, pad = self._geometry(x)
        out = positions(x.type.shape[2:], kernel, stride, pad)
        fan, maps = x.type.shape[1] * prod(kernel), self.rng.choice((2, 4))
        w = self.param("w", maps, *out, x.type.shape[1], *kernel, spread=fan**-0.5)
        return self._finished(
            self.emit("local", x, w, stride=stride, pad=pad, whole=int(self.chance(0.1)))
        )

    def pool(self, x: Node) -> Node:
        """Pooling over clipped windows."""
        window, stride, pad = self._geometry(x, pool=True)
        geometry: dict[str, Any] = {"window": window, "stride": stride, "pad": pad}
        if self.chance(0.4):
            return self.emit("avg_pool", x, **geometry)
        return self.emit("max_pool", x, **geometry, ties=self.rng.choice(self._ties))

    def norm(self, x: Node) -> Node:
        """Response normalisation across maps or positions."""
        formula: dict[str, Any] = {
            "size": self.rng.randint(1, 5),
            "k": self.rng.choice((1.0, 2.0)),
            "alpha": self.rng.choice((0.0001, 0.05, 0.25)),
            "beta": self.rng.choice((0.5, 0.75)),
        }
        if self.chance(0.25):
            return self.emit("spatial_lrn", x, **formula)
        return self.emit("lrn", x, **formula, groups=self._groups(x))

    def relu(self, x: Node) -> Node:
        """The usual activation."""
        return self.emit("relu", x)

    def activated(self, x: Node) -> Node:
        """An activation: mostly relu."""
        return self.emit("tanh" if self.chance(0.25) else "relu", x)

    def dropout(self, x: Node) -> Node:
        """Dropout under a stream of its own."""
        seed, step = self.input("seed", DType.U32), self.input("step", DType.U32)
        self._streams += 1
        p = self.rng.choice((0.25, 0.5))
        return self.emit("dropout", x, seed, step, p=p, stream=self._streams)

    def join(self, x: Node) -> Node:
        """x and an earlier result of its type, or itself."""
        alike = [node for node in self._results if node.type == x.type]
        other = self.rng.choice([*alike, x])
        op = self.rng.choice(("add", "add", "sub", "mul"))
        return self.emit(op, x, self.emit("tanh", other) if op == "mul" else other)

    def residual(self, x: Node) -> Node:
        """x plus some layers on top of it."""
        y = self.activated(self.same_conv(x))
        if self.chance(0.5):
            y = self.same_conv(y)
        return self.emit("add", *self.rng.sample((x, y), 2))

    def with_param(self, x: Node) -> Node:
        """x times, or plus, a parameter of its type."""
        if self.chance(0.5):
            return self.emit("mul", x, self.param("gate", *x.type.shape, spread=0.2, value=1.0))
        return self.emit("add", self.param("map", *x.type.shape, spread=0.5), x)

    def biased(self, x: Node) -> Node:
        """A bias over some of the axes behind the images'."""
        rank = self.rng.randint(1, x.type.rank - 1)
        b = self.param("b", *x.type.shape[1 : 1 + rank], spread=0.1)
        return self.emit("bias_add", x, b)

    def scale(self, x: Node) -> Node:
        """x times a constant."""
        return self.emit("scale", x, by=self.rng.choice((-1.0, 0.5, 0.9, 1.5)))

    def branches(self, x: Node) -> Node:
        """Two or three convolutions of x, side by side."""
        kernel, stride, pad = self._geometry(x)
        parts = [
            self._convolved(x, self.rng.choice((2, 4)), self._groups(x, of=2), kernel, stride, pad)
            for _ in range(self.rng.choice((2, 2, 3)))
        ]
        return self._narrowed(self.emit("concat", *parts))

    def cut(self, x: Node) -> Node:
        """A part of x along maps or positions."""
        axis = self.rng.randint(1, x.type.rank - 1)
        extent = x.type.shape[axis]
        size = extent // 2 if extent % 2 == 0 else self.rng.randint(1, extent)
        start = self.rng.choice((0, extent - size))
        return self.emit("slice", x, axis=axis, start=start, size=size)

    def cut_and_swap(self, x: Node) -> Node:
        """The two halves of x along any axis, the other way round."""
        wide = [axis for axis, extent in enumerate(x.type.shape) if extent > 1]
        if not wide:
            return self.scale(x)
        axis = self.rng.choice(wide)
        size = x.type.shape[axis] // 2
        first = self.emit("slice", x, axis=axis, size=size)
        rest = self.emit("slice", x, axis=axis, start=size, size=x.type.shape[axis] - size)
        return self.emit("concat", rest, first, axis=axis)

    def extended(self, x: Node) -> Node:
        """x beside another activation of it."""
        axis = self.rng.randint(1, x.type.rank - 1)
        most = MOST_CHANNELS if axis == 1 else MOST_PIXELS
        if x.type.rank == 4 and 2 * x.type.shape[axis] > most:
            return self.relu(x)
        return self.emit("concat", x, self.emit("tanh", x), axis=axis)

    def flatten(self, x: Node) -> Node:
        """Images as rows."""
        return self.emit("flatten", x)

    def dense(self, x: Node) -> Node:
        """A fully connected layer."""
        return self._with_bias(self._matrix_product(x, self.rng.choice((4, 6, 8, 16))))

    # ------------------------------------------------------------------------ parts of layers

    def _matrix_product(self, x: Node, outputs: int) -> Node:
        w = self.param("w", outputs, x.type.shape[1], spread=x.type.shape[1] ** -0.5)
        return self.emit("dense", x, w, whole=int(self.chance(0.3)))

    def _convolved(
        self,
        x: Node,
        maps: int,
        groups: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        pad: tuple[int, ...],
    ) -> Node:
        groups = groups if maps % groups == 0 else 1
        channels = x.type.shape[1] // groups
        w = self.param("w", maps, channels, *kernel, spread=(channels * prod(kernel)) ** -0.5)
        whole = int(self.chance(0.1))
        return self.emit("conv", x, w, stride=stride, pad=pad, groups=groups, whole=whole)

    def _with_bias(self, x: Node) -> Node:
        return self.emit("bias_add", x, self.param("b", x.type.shape[1], spread=0.1))

    def _finished(self, x: Node) -> Node:
        x = self._with_bias(x) if self.chance(0.6) else x
        return self.activated(x) if self.chance(0.6) else x

    def _narrowed(self, x: Node) -> Node:
        if x.type.shape[1] <= MOST_CHANNELS:
            return x
        return self.emit("slice", x, start=0, size=MOST_CHANNELS)

    def _maps(self) -> int:
        return self.rng.choice((2, 3, 4, 4, 4, 6, 8, 8))

    def _groups(self, x: Node, of: int = 4) -> int:
        """Groups that divide the maps of x, and `of`."""
        divisors = [g for g in (1, 2, 4) if x.type.shape[1] % g == 0 and of % g == 0]
        return self.rng.choice(divisors)

    def _geometry(
        self, x: Node, pool: bool = False
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
        """Window, stride and padding that fit x and leave it no larger."""
        rows, columns = (self._along(extent, pool) for extent in x.type.shape[2:])
        return (rows[0], columns[0]), (rows[1], columns[1]), (*rows[2], *columns[2])

    def _along(self, extent: int, pool: bool) -> tuple[int, int, tuple[int, int]]:
        window = self.rng.randint(1, min(4, extent))
        stride = self.rng.choice((1, 1, 2, 3)) if extent > 3 else 1
        before = self.rng.randint(0, window // 2)
        after = self.rng.randint(0, window - 1 - before)
        while pool and (extent + before + after - window) // stride * stride - before >= extent:
            after -= 1
        return window, stride, (before, after)


_Layer = Callable[[_Network, Node], Node]

_ANY_LAYERS: list[_Layer] = [
    _Network.activated,
    _Network.biased,
    _Network.cut,
    _Network.cut_and_swap,
    _Network.dropout,
    _Network.extended,
    _Network.join,
    _Network.scale,
    _Network.with_param,
]
_VECTOR_LAYERS: list[_Layer] = [*_ANY_LAYERS, *[_Network.dense] * 5]
_IMAGE_LAYERS: list[_Layer] = [
    *_ANY_LAYERS,
    *[_Network.conv] * 5,
    *[_Network.norm] * 2,
    *[_Network.pool] * 2,
    _Network.branches,
    _Network.flatten,
    _Network.local,
    _Network.residual,
    _Network.residual,
    _Network.twice,
]
