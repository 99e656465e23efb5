"""Random programs without contractions, to be compiled as one kernel whatever fuse would do."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from ir.graph import Graph, Names, Node, Pair
from ir.ops import apply
from ir.type import DType, TensorType

Shape = tuple[int, ...]


def draw_region(
    rng: Random, dtype: DType = DType.F32, batches: Sequence[int] = (1, 3, 16, 17)
) -> Graph:
    """A few ops on each other's results, several of them results, some the next value of a state.

    Images are of the dtype; in bf16, casts lead from and to values in f32. Ops that jump where
    their operand passes a point (a sign, a tie) read leaves only, so that rounding flips nothing.
    """
    draw = _Draw(rng, dtype, batches)
    ops = _OPS if dtype is DType.F32 else [*_OPS, *[_cast] * 2]
    for _ in range(rng.randint(1, 7)):
        rng.choice(ops)(draw)
    return draw.program()


class _Draw:
    """A program under construction."""

    def __init__(self, rng: Random, dtype: DType, batches: Sequence[int]) -> None:
        self.rng, self.dtype = rng, dtype
        self.images = rng.choice(batches), rng.choice((1, 2, 17)), *rng.sample((1, 2, 5), 2)
        self.rows = self.images[0], self.images[1] * self.images[2] * self.images[3]
        self.nodes: list[Node] = []
        self._names = Names()
        self.operand(*self.images)

    def leaf(self, *shape: int, dtype: DType = DType.F32, op: str = "input") -> Node:
        """A fresh operand."""
        node = apply(op, name=self._names.fresh(op), type=TensorType(shape, dtype))
        self.nodes.append(node)
        return node

    def operand(self, *shape: int) -> Node:
        """Any images of this shape."""
        return self.alike(TensorType(shape, self.dtype))

    def f32(self, *shape: int) -> Node:
        """Any value of this shape in f32."""
        return self.alike(TensorType(shape, DType.F32))

    def alike(self, type: TensorType) -> Node:
        """Any value of this type."""
        alike = [n for n in self.nodes if n.type == type]
        if alike and self.rng.random() < 0.8:
            return self.rng.choice(alike)
        kind = self.rng.choice(("input", "state"))
        return self.leaf(*type.shape, dtype=type.dtype, op=kind)

    def any(self) -> Node:
        """Any value at all."""
        return self.rng.choice([n for n in self.nodes if n.type.dtype.is_float])

    def in_f32(self, node: Node) -> Node:
        """The value in f32."""
        return node if node.type.dtype is DType.F32 else self.emit("cast", node, to="f32")

    def emit(self, op: str, *inputs: Node, **attrs: Any) -> Node:
        """One more node."""
        self.nodes.append(apply(op, *inputs, name=self._names.fresh(op), **attrs))
        return self.nodes[-1]

    def program(self) -> Graph:
        """End: results are what nobody reads, and some others."""
        read = {x for node in self.nodes for x in node.inputs}
        computed = [node for node in self.nodes if node.inputs]
        updates, free = [], list(computed)
        for state in [node for node in self.nodes if node.op == "state" and node in read]:
            values = [n for n in free if n.type == state.type]
            if values and self.rng.random() < 0.7:
                updates.append(Pair(state, self.rng.choice(values)))
                free.remove(updates[-1].value)
        outputs = [n for n in free if n not in read or self.rng.random() < 0.3]
        used = [n for n in self.nodes if n.inputs or n in read]
        return Graph("region", tuple(used), tuple(outputs), updates=tuple(updates))


def _alike(d: _Draw) -> None:
    x = d.any()
    op = d.rng.choice(("add", "sub", "mul", "tanh", "relu", "scale", "tanh_dx", "relu_dx"))
    if op in ("tanh", "relu"):
        d.emit(op, x)
    elif op == "scale":
        d.emit(op, x, by=-0.5)
    elif op == "relu_dx":
        d.emit(op, d.leaf(*x.type.shape, dtype=x.type.dtype), x)
    else:
        d.emit(op, *d.rng.sample((x, d.alike(x.type)), 2))


def _cast(d: _Draw) -> None:
    x = d.any()
    d.emit("cast", x, to=str(DType.BF16 if x.type.dtype is DType.F32 else DType.F32))


def _scalar(d: _Draw) -> None:
    x, like = d.any(), d.f32
    op = d.rng.choice(("scale_by", "sgd_velocity", "sgd_weight", "accumulate"))
    tensors = {"scale_by": 1, "sgd_velocity": 3, "sgd_weight": 2, "accumulate": 2}[op]
    scalars = 3 if op == "sgd_velocity" else 1
    x = x if op == "scale_by" else d.in_f32(x)
    others = [like(*x.type.shape) for _ in range(tensors - 1)]
    # Only scale_by is continuous in its scalar.
    fed = [like() if op == "scale_by" else d.leaf() for _ in range(scalars)]
    d.emit(op, x, *others, *fed)


def _spread(d: _Draw) -> None:
    n, c, h, w = d.images
    x = d.operand(*d.images)
    rule = d.rng.choice(("channel", "position", "mean", "shift", "row"))
    if rule == "channel":
        d.emit("bias_add", x, d.f32(c))
    elif rule == "position":
        d.emit("bias_add", x, d.f32(c, h, w))
    elif rule == "mean":
        d.emit("center", x, d.f32(c, h, w))
    elif rule == "shift":
        d.emit("channel_shift", x, d.f32(n, c))
    else:
        d.emit("bias_add", d.operand(*d.rows), d.f32(d.rows[1]))


def _view(d: _Draw) -> None:
    if d.rng.random() < 0.5:
        d.emit("flatten", d.operand(*d.images))
    else:
        d.emit("unflatten", d.operand(*d.rows), shape=d.images[1:])


def _window(d: _Draw) -> None:
    x, y = d.operand(*d.images), d.operand(*d.images)
    pool: dict[str, Any] = {"window": (3, 3), "pad": (1, 1, 1, 1)}
    norm: dict[str, Any] = {"size": 3, "k": 1.0, "alpha": 0.1, "beta": 0.75}
    op = d.rng.choice(("max_pool", "avg_pool", "lrn", "spatial_lrn"))
    backward = d.rng.random() < 0.5
    if op == "max_pool" and backward:
        d.emit("max_pool_dx", d.leaf(*d.images, dtype=d.dtype), y, **pool)
    elif op == "avg_pool" and backward:
        d.emit("avg_pool_dx", y, size=d.images[2:], **pool)
    elif backward:
        d.emit(f"{op}_dx", x, y, **norm)
    else:
        d.emit(op, x, **(pool if op.endswith("pool") else norm))


def _reduce(d: _Draw) -> None:
    op = d.rng.choice(("bias_dw", "softmax", "cross_entropy", "cross_entropy_dx", "accuracy"))
    if op == "bias_dw":
        x = d.operand(*d.images)
        d.emit("bias_dw", d.emit("scale", x, by=0.05), rank=d.rng.choice((1, 3)))
    elif op == "softmax":
        d.emit(op, d.in_f32(d.operand(*d.rows)))
    else:
        logits = d.leaf(*d.rows) if op == "accuracy" else d.in_f32(d.operand(*d.rows))
        images = d.rows[0]
        targets = d.leaf(images, dtype=DType.I32), d.leaf(images)
        d.emit(op, logits, *targets, *([d.f32()] if op == "cross_entropy_dx" else []))


def _copy(d: _Draw) -> None:
    x = d.any()
    if not x.type.shape:
        return
    axis = d.rng.randrange(x.type.rank)
    extent = x.type.shape[axis]
    part = d.emit("slice", x, axis=axis, start=extent // 2, size=extent - extent // 2)
    if d.rng.random() < 0.5:
        d.emit("unslice", part, axis=axis, start=1, size=extent + 3)
    else:
        d.emit("concat", part, x, axis=axis)


_OPS: list[Callable[[_Draw], None]] = [
    *[_alike] * 3,
    _scalar,
    *[_spread] * 2,
    *[_view] * 2,
    *[_window] * 2,
    _reduce,
    _copy,
]
