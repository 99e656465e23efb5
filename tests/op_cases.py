"""Random uses of every op of the table, one small program each, with values for its operands."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from ir.eval import in_type, run_graph
from ir.graph import AttrValue, Graph, Names, Node
from ir.leaf import logical_name
from ir.op import Absent, Adjoint, Array
from ir.ops import TABLE, apply
from ir.ops.window import positions
from ir.type import Device, DType, TensorType

FLOATS = (DType.F32, DType.BF16)


@dataclass(frozen=True)
class Case:
    """One node, its operands (leaves) and their values by logical name."""

    node: Node
    leaves: tuple[Node, ...]
    feeds: dict[str, Array]

    @property
    def graph(self) -> Graph:
        """The program that computes the node."""
        return Graph("case", tuple(dict.fromkeys((*self.leaves, self.node))), (self.node,))

    @property
    def values(self) -> tuple[Array, ...]:
        """The operands, as the oracle holds them in float64."""
        return tuple(in_type(self.feeds[i.name], i.type, np.float64) for i in self.node.inputs)


def draw_case(op: str, rng: Random, *, exact: bool = False) -> Case:
    """A random use of an op. `exact`: in f32 throughout, with no operand rounded."""
    draw = Draw(rng, (DType.F32,) if exact else FLOATS)
    node = CASES[op](draw)
    return Case(node, tuple(draw.leaves), draw.feeds)


def draw_program(rng: Random) -> Graph:
    """Some ops of all kinds in one program, most of its nodes unread."""
    draw = Draw(rng, FLOATS)
    nodes = [CASES[op](draw) for op in rng.choices(list(CASES), k=rng.randint(0, 8))]
    every = tuple(dict.fromkeys((*draw.leaves, *nodes)))
    return Graph("ops", every, tuple(rng.sample(every, rng.randint(0, min(3, len(every))))))


def reference(node: Node, operands: list[Array]) -> Array:
    """What the row of a node makes of these operands."""
    rule = TABLE[node.op].reference
    assert not isinstance(rule, Absent)
    return rule(*operands, **node.attrs)


def adjoint(case: Case, index: int) -> Graph:
    """What the rule of an operand emits, as a program that is also fed `dy`."""
    node = case.node
    dy = apply("input", name="dy", type=node.type)
    nodes = [*case.graph.nodes, dy]

    def emit(op: str, *inputs: Node, **attrs: Any) -> Node:
        nodes.append(apply(op, *inputs, name=f"emitted.{len(nodes)}", **attrs))
        return nodes[-1]

    rules = TABLE[node.op].gradient
    assert not isinstance(rules, Absent)
    rule = rules[TABLE[node.op].operand_name(index)]
    assert not isinstance(rule, Absent)
    gradient = rule(Adjoint(node, dy, index, emit))
    return Graph("adjoint", tuple(nodes), (gradient,))


def run_adjoint(case: Case, index: int, dy: Array) -> Array:
    """The gradient of <y, dy> for an operand."""
    graph = adjoint(case, index)
    return run_graph(graph, {**case.feeds, "dy": dy}).outputs[graph.outputs[0].name]


class Draw:
    """Draws the shapes, attributes and values of one case."""

    def __init__(self, rng: Random, floats: tuple[DType, ...]) -> None:
        self.rng = rng
        self.floats = floats
        self.dtype = rng.choice(floats)
        self.device = rng.choice((None, None, Device(0), Device(1)))
        self.leaves: list[Node] = []
        self.feeds: dict[str, Array] = {}
        self._names = Names()
        self.noise = np.random.default_rng(rng.getrandbits(64))

    # ------------------------------------------------------------------------ nodes

    def apply(self, op: str, *inputs: Node, **attrs: Any) -> Node:
        """The node that the case is about."""
        return apply(op, *inputs, name=self._names.fresh(op), **attrs)

    def x(self, *shape: int) -> Node:
        """A float operand, all elements apart from each other and from zero."""
        return self.leaf(self.dtype, self.apart(*shape))

    def f32(self, *shape: int) -> Node:
        """An operand that is f32 whatever the others are."""
        return self.leaf(DType.F32, self.apart(*shape))

    def integers(self, dtype: DType, below: int, *shape: int) -> Node:
        """An integer operand."""
        return self.leaf(dtype, self.noise.integers(0, below, shape), below=below)

    def leaf(self, dtype: DType, value: Array, **attrs: AttrValue) -> Node:
        """An operand of this value."""
        return self.declare("input", TensorType(value.shape, dtype, self.device), value, **attrs)

    def declare(self, op: str, type: TensorType, value: Array, /, **attrs: Any) -> Node:
        """A leaf; `value` is that of its logical tensor."""
        leaf = self.apply(op, type=type, **attrs)
        self.leaves.append(leaf)
        self.feeds[logical_name(leaf)] = value
        return leaf

    # ------------------------------------------------------------------------ numbers

    def apart(self, *shape: int) -> Array:
        """Values of either sign, 0.05 apart within the last two axes and 0.1 away from zero."""
        count = int(np.prod(shape[-2:]))
        images = int(np.prod(shape)) // count
        steps = np.argsort(self.noise.random((images, count)), axis=1)
        sizes = 0.1 + 0.1 * steps + self.noise.uniform(0, 0.05, (images, count))
        return np.asarray((sizes * self.noise.choice((-1, 1), sizes.shape)).reshape(shape) / 2)

    def shape(self, least: int, most: int, largest: int = 5) -> tuple[int, ...]:
        """A shape with this many dimensions."""
        return tuple(self.between(1, largest) for _ in range(self.between(least, most)))

    def between(self, least: int, most: int) -> int:
        """An integer, bounds included."""
        return self.rng.randint(least, most)

    def window(self, pool: bool) -> tuple[tuple[int, ...], dict[str, Any]]:
        """An image size, and a window with stride and padding for it."""
        rows, columns = self._window_along(pool), self._window_along(pool)
        size, window, stride = zip(rows[:3], columns[:3], strict=True)
        return size, {"window": window, "stride": stride, "pad": (*rows[3], *columns[3])}

    def _window_along(self, pool: bool) -> tuple[int, int, int, tuple[int, int]]:
        window, stride = self.between(1, 4), self.between(1, 3)
        most = window - 1 if pool else 3
        before, after = self.between(0, most), self.between(0, most)
        size = self.between(max(1, window - before - after), 7)
        while pool and (size + before + after - window) // stride * stride - before >= size:
            after -= 1
        return size, window, stride, (before, after)


# ---------------------------------------------------------------------------- leaves


def _input(d: Draw) -> Node:
    dtype = d.rng.choice(list(DType))
    value = np.asarray(d.noise.integers(0, 9, d.shape(0, 4)))
    return d.declare("input", TensorType(value.shape, dtype, d.device), value, below=9)


def _piece(op: str) -> Callable[[Draw], Node]:
    def draw(d: Draw) -> Node:
        shape = d.shape(0, 4)
        room = [(d.between(0, 2), d.between(0, 2)) for _ in shape]
        whole = tuple(a + n + b for n, (a, b) in zip(shape, room, strict=True))
        type = TensorType(shape, d.dtype, d.device)
        attrs: dict[str, Any] = {"value": d.rng.choice((0.0, 1.0, -2.5e-7))}
        if op == "param":
            attrs |= {"std": d.rng.choice((0.0, 0.01)), "rate": 2.0, "decay": 0.0}
        if shape and d.between(0, 2):
            attrs |= {"of": "whole_tensor", "whole": whole, "offset": tuple(a for a, _ in room)}
        return d.declare(op, type, d.apart(*attrs.get("whole", shape)), **attrs)

    return draw


def _constant(d: Draw) -> Node:
    type = TensorType(d.shape(0, 4), d.dtype, d.device)
    return d.apply("constant", type=type, value=d.rng.choice((0.0, 0.1, -3e30)))


# ---------------------------------------------------------------------------- elementwise


def _alike(count: int, op: str, least: int = 0, **attrs: float) -> Callable[[Draw], Node]:
    def draw(d: Draw) -> Node:
        shape = d.shape(least, 4)
        return d.apply(op, *(d.x(*shape) for _ in range(count)), **attrs)

    return draw


def _scale_by(d: Draw) -> Node:
    return d.apply("scale_by", d.x(*d.shape(0, 4)), d.f32())


def _cast(d: Draw) -> Node:
    to = str(d.rng.choice(d.floats))
    if len(d.floats) > 1 and d.between(0, 1):
        dtype = d.rng.choice((DType.U8, DType.I32, DType.U32))
        return d.apply("cast", d.integers(dtype, 200, *d.shape(0, 4)), to=to)
    return d.apply("cast", d.x(*d.shape(0, 4)), to=to)


def _bias_add(d: Draw) -> Node:
    x = d.x(*d.shape(2, 4))
    extents = x.type.shape[1 : 1 + d.between(1, x.type.rank - 1)]
    return d.apply("bias_add", x, d.rng.choice((d.x, d.f32))(*extents))


def _bias_dw(d: Draw) -> Node:
    dy = d.x(*d.shape(2, 4))
    return d.apply("bias_dw", dy, rank=d.between(1, dy.type.rank - 1))


# ---------------------------------------------------------------------------- contractions


def _conv(d: Draw) -> Node:
    size, geometry = d.window(pool=False)
    kernel, groups = geometry.pop("window"), d.rng.choice((1, 1, 2, 3))
    channels = d.between(1, 3)
    x, w = (
        d.x(d.between(1, 3), groups * channels, *size),
        (groups * d.between(1, 3), channels, *kernel),
    )
    return d.apply("conv", x, d.x(*w), **geometry, groups=groups, whole=d.between(0, 1))


def _local(d: Draw) -> Node:
    size, geometry = d.window(pool=False)
    x, kernel = d.x(d.between(1, 3), d.between(1, 3), *size), geometry.pop("window")
    out = positions(size, kernel, **geometry)
    return d.apply("local", x, d.x(d.between(1, 3), *out, x.type.shape[1], *kernel), **geometry)


def _dense(d: Draw) -> Node:
    inputs = d.between(1, 6)
    return d.apply(
        "dense", d.x(d.between(1, 4), inputs), d.x(d.between(1, 6), inputs), whole=d.between(0, 1)
    )


def _adjoint(
    forward: Callable[[Draw], Node], suffix: str, extent: str = ""
) -> Callable[[Draw], Node]:
    """The `_dx` or `_dw` partner of a case; `extent` names the attribute that sizes its result."""

    def draw(d: Draw) -> Node:
        y = forward(d)
        x, w = y.inputs
        kept, asked = (w, x) if suffix == "dx" else (x, w)
        d.leaves.remove(asked)
        attrs: dict[str, Any] = {k: v for k, v in y.attrs.items() if k != "whole"}
        if extent:
            attrs[extent] = asked.type.shape[-2:]
        return d.apply(f"{y.op}_{suffix}", kept, d.x(*y.type.shape), **attrs)

    return draw


# ---------------------------------------------------------------------------- windows


def _pool(op: str) -> Callable[[Draw], Node]:
    def draw(d: Draw) -> Node:
        size, geometry = d.window(pool=True)
        ties = {"ties": d.rng.choice(("all", "first"))} if op == "max_pool" else {}
        return d.apply(op, d.x(d.between(1, 3), d.between(1, 3), *size), **geometry, **ties)

    return draw


def _max_pool_dx(d: Draw) -> Node:
    y = _pool("max_pool")(d)
    return d.apply("max_pool_dx", *y.inputs, d.x(*y.type.shape), **y.attrs)


def _avg_pool_dx(d: Draw) -> Node:
    y = _pool("avg_pool")(d)
    d.leaves.remove(y.inputs[0])
    return d.apply("avg_pool_dx", d.x(*y.type.shape), **y.attrs, size=y.inputs[0].type.shape[2:])


def _norm(op: str, operands: int) -> Callable[[Draw], Node]:
    def draw(d: Draw) -> Node:
        attrs: dict[str, Any] = {
            "size": d.between(1, 6),
            "k": d.rng.choice((0.5, 1.0, 2.0)),
            "alpha": d.rng.choice((1e-4, 0.1, 1.0)),
            "beta": d.rng.choice((0.25, 0.75, 1.0)),
        }
        if not op.startswith("spatial"):
            attrs["groups"] = d.between(1, 3)
        shape = (
            d.between(1, 3),
            attrs.get("groups", 1) * d.between(1, 5),
            d.between(1, 4),
            d.between(1, 4),
        )
        return d.apply(op, *(d.x(*shape) for _ in range(operands)), **attrs)

    return draw


# ---------------------------------------------------------------------------- loss


def _softmax(d: Draw) -> Node:
    return d.apply("softmax", d.f32(d.between(1, 4), d.between(1, 6)))


def _loss(op: str) -> Callable[[Draw], Node]:
    def draw(d: Draw) -> Node:
        batch, classes = d.between(1, 4), d.between(1, 6)
        weights = d.noise.integers(0, 3, batch) / 2
        operands = [
            d.f32(batch, classes),
            d.integers(DType.I32, classes, batch),
            d.leaf(DType.F32, weights),
        ]
        if op == "cross_entropy_dx":
            operands.append(d.f32())
        attrs = {"top": d.between(1, 3)} if op == "accuracy" else {}
        return d.apply(op, *operands, **attrs)

    return draw


# ---------------------------------------------------------------------------- layout


def _concat(d: Draw) -> Node:
    shape = list(d.shape(1, 4, largest=4))
    axis = d.between(0, len(shape) - 1)
    extents = [d.between(1, 4) for _ in range(d.between(1, 3))]
    parts = [d.x(*shape[:axis], extent, *shape[axis + 1 :]) for extent in extents]
    return d.apply("concat", *parts, axis=axis)


def _slice(d: Draw) -> Node:
    x = d.x(*d.shape(1, 4))
    axis = d.between(0, x.type.rank - 1)
    start = d.between(0, x.type.shape[axis] - 1)
    size = d.between(1, x.type.shape[axis] - start)
    return d.apply("slice", x, axis=axis, start=start, size=size)


def _unslice(d: Draw) -> Node:
    dy = d.x(*d.shape(1, 4))
    axis, start = d.between(0, dy.type.rank - 1), d.between(0, 2)
    size = start + dy.type.shape[axis] + d.between(0, 2)
    return d.apply("unslice", dy, axis=axis, start=start, size=size)


def _unflatten(d: Draw) -> Node:
    batch, shape = d.between(1, 4), d.shape(1, 3)
    return d.apply("unflatten", d.x(batch, int(np.prod(shape))), shape=shape)


def _transfer(d: Draw) -> Node:
    d.device = Device(d.between(0, 2))
    to = d.rng.choice([i for i in range(4) if i != d.device.index])
    return d.apply("transfer", d.x(*d.shape(0, 4)), to=to)


# ---------------------------------------------------------------------------- the rest


def _dropout(d: Draw) -> Node:
    x = d.x(*d.shape(1, 4))
    piece: dict[str, Any] = {}
    if d.between(0, 1):
        offset = tuple(d.between(0, 3) for _ in x.type.shape)
        whole = tuple(o + n + d.between(0, 3) for o, n in zip(offset, x.type.shape, strict=True))
        piece = {"whole": whole, "offset": offset}
    scalars = [d.integers(DType.U32, 2**32) for _ in range(2)]
    p = d.rng.choice((0.0, 0.25, 0.5, 0.9))
    return d.apply("dropout", x, *scalars, p=p, stream=d.between(0, 2**32 - 1), **piece)


def _crop(d: Draw) -> Node:
    room, size = d.between(0, 3), (d.between(1, 4), d.between(1, 4))
    images = (d.between(1, 3), d.between(1, 3), size[0] + room, size[1] + d.between(room, 4))
    x = d.x(*images) if d.between(0, 1) else d.integers(DType.U8, 256, *images)
    offset = d.integers(DType.I32, room + 1, images[0], 2)
    return d.apply("crop", x, offset, d.integers(DType.I32, 2, images[0]), size=size)


def _center(d: Draw) -> Node:
    x = d.x(*d.shape(2, 4))
    return d.apply("center", x, d.f32(*x.type.shape[1:]))


def _channel_shift(d: Draw) -> Node:
    x = d.x(*d.shape(4, 4))
    return d.apply("channel_shift", x, d.f32(*x.type.shape[:2]))


def _update(op: str, tensors: int, scalars: int, **attrs: float) -> Callable[[Draw], Node]:
    def draw(d: Draw) -> Node:
        shape = d.shape(0, 4)
        operands = [d.f32(*shape) for _ in range(tensors)]
        fed = [d.leaf(DType.F32, np.asarray(d.rng.choice((0.0, 0.5)))) for _ in range(scalars)]
        return d.apply(op, *operands, *fed, **attrs)

    return draw


CASES: dict[str, Callable[[Draw], Node]] = {
    "input": _input,
    "param": _piece("param"),
    "state": _piece("state"),
    "constant": _constant,
    "add": _alike(2, "add"),
    "sub": _alike(2, "sub"),
    "mul": _alike(2, "mul"),
    "scale": _alike(1, "scale", by=-1.5),
    "scale_by": _scale_by,
    "cast": _cast,
    "relu": _alike(1, "relu"),
    "relu_dx": _alike(2, "relu_dx"),
    "tanh": _alike(1, "tanh"),
    "tanh_dx": _alike(2, "tanh_dx"),
    "bias_add": _bias_add,
    "bias_dw": _bias_dw,
    "conv": _conv,
    "conv_dx": _adjoint(_conv, "dx", "size"),
    "conv_dw": _adjoint(_conv, "dw", "kernel"),
    "local": _local,
    "local_dx": _adjoint(_local, "dx", "size"),
    "local_dw": _adjoint(_local, "dw", "kernel"),
    "dense": _dense,
    "dense_dx": _adjoint(_dense, "dx"),
    "dense_dw": _adjoint(_dense, "dw"),
    "max_pool": _pool("max_pool"),
    "max_pool_dx": _max_pool_dx,
    "avg_pool": _pool("avg_pool"),
    "avg_pool_dx": _avg_pool_dx,
    "lrn": _norm("lrn", 1),
    "lrn_dx": _norm("lrn_dx", 2),
    "spatial_lrn": _norm("spatial_lrn", 1),
    "spatial_lrn_dx": _norm("spatial_lrn_dx", 2),
    "softmax": _softmax,
    "cross_entropy": _loss("cross_entropy"),
    "cross_entropy_dx": _loss("cross_entropy_dx"),
    "accuracy": _loss("accuracy"),
    "concat": _concat,
    "slice": _slice,
    "unslice": _unslice,
    "flatten": _alike(1, "flatten", least=2),
    "unflatten": _unflatten,
    "transfer": _transfer,
    "dropout": _dropout,
    "crop": _crop,
    "center": _center,
    "channel_shift": _channel_shift,
    "sgd_velocity": _update("sgd_velocity", tensors=3, scalars=3, decay_by=0.5),
    "sgd_weight": _update("sgd_weight", tensors=2, scalars=1),
    "accumulate": _update("accumulate", tensors=2, scalars=1),
}
