"""Moving data without computing: concat, slice, flatten, and transfer between devices.

Adjoints: of a concat, slices; of a slice, the zero-padded `unslice`; of a transfer, a transfer
back.
"""

import numpy as np

from ir.graph import AttrValue, Node
from ir.op import Absent, Adjoint, Array, Attr, Fusion, Local, Op, Shards, require, split_locally
from ir.type import MAX_DEVICES, Device, TensorType

_MOVES = Absent("the result lies elsewhere in memory")


def _require_axis(x: TensorType, axis: int) -> None:
    require(axis < x.rank, f"axis {axis} of {x} does not exist, expected more dimensions")


def concat_type(*xs: TensorType, axis: int) -> TensorType:
    """Extents add up along the axis and agree elsewhere."""
    first = xs[0]
    _require_axis(first, axis)
    for x in xs:
        require(
            x.dtype == first.dtype
            and x.rank == first.rank
            and all(
                a == b
                for i, (a, b) in enumerate(zip(x.shape, first.shape, strict=True))
                if i != axis
            ),
            f"expected operands alike but for axis {axis}, got {first} and {x}",
        )
    total = sum(x.shape[axis] for x in xs)
    return first.with_shape(*first.shape[:axis], total, *first.shape[axis + 1 :])


def slice_type(x: TensorType, *, axis: int, start: int, size: int) -> TensorType:
    """`size` elements from `start` along the axis."""
    _require_axis(x, axis)
    require(
        start + size <= x.shape[axis],
        f"slice [{start}, {start + size}) does not lie inside axis {axis} of {x}, expected an end "
        f"of at most {x.shape[axis]}",
    )
    return x.with_shape(*x.shape[:axis], size, *x.shape[axis + 1 :])


def unslice_type(dy: TensorType, *, axis: int, start: int, size: int) -> TensorType:
    """`size` elements along the axis, of which dy fills some from `start` on."""
    _require_axis(dy, axis)
    whole = dy.with_shape(*dy.shape[:axis], size, *dy.shape[axis + 1 :])
    slice_type(whole, axis=axis, start=start, size=dy.shape[axis])
    return whole


def _slice(x: Array, *, axis: int, start: int, size: int) -> Array:
    return x[(slice(None),) * axis + (slice(start, start + size),)]


def _unslice(dy: Array, *, axis: int, start: int, size: int) -> Array:
    whole = np.zeros((*dy.shape[:axis], size, *dy.shape[axis + 1 :]), dy.dtype)
    _slice(whole, axis=axis, start=start, size=dy.shape[axis])[...] = dy
    return whole


def flatten_type(x: TensorType) -> TensorType:
    """[N,...] gives [N, product of the rest]."""
    require(x.rank >= 2, f"expected at least 2 dimensions, got {x}")
    return x.with_shape(x.shape[0], x.elements // x.shape[0])


def unflatten_type(x: TensorType, *, shape: tuple[int, ...]) -> TensorType:
    """[N,F] gives [N,*shape]."""
    whole = x.with_shape(x.shape[0], *shape)
    require(
        x.rank == 2 and whole.elements == x.elements,
        f"expected a matrix with rows of {list(shape)} elements, got {x}",
    )
    return whole


def _concat_dx(a: Adjoint) -> Node:
    axis = a.attrs["axis"]
    assert isinstance(axis, int)
    start = sum(x.type.shape[axis] for x in a.inputs[: a.operand])
    size = a.inputs[a.operand].type.shape[axis]
    return a.emit("slice", a.dy, axis=axis, start=start, size=size)


def _slice_dx(a: Adjoint) -> Node:
    axis, start = a.attrs["axis"], a.attrs["start"]
    assert isinstance(axis, int)
    return a.emit("unslice", a.dy, axis=axis, start=start, size=a.inputs[0].type.shape[axis])


def _unslice_dx(a: Adjoint) -> Node:
    axis, start = a.attrs["axis"], a.attrs["start"]
    assert isinstance(axis, int)
    return a.emit("slice", a.dy, axis=axis, start=start, size=a.inputs[0].type.shape[axis])


def _transfer_dx(a: Adjoint) -> Node:
    home = a.inputs[0].device
    assert home is not None, "a transfer's operand is placed"
    return a.emit("transfer", a.dy, to=home.index)


def _transfer_type(x: TensorType, *, to: int) -> TensorType:
    require(x.device is not None, f"expected a placed operand, got {x}")
    require(x.device != Device(to), f"{x} is on dev{to} already; expected another device")
    return x.on(Device(to))


def _split_off_axis_1(parts: int, *types: TensorType, axis: int, **_: AttrValue) -> Shards | str:
    if axis == 1:
        return "it runs along axis 1, which is the one that is cut"
    return split_locally(parts, *types)


def _unflatten_split(parts: int, x: TensorType, *, shape: tuple[int, ...]) -> Shards | str:
    if shape[0] % parts:
        return f"its {shape[0]} channels do not divide by {parts}"
    return Shards((Local(),), lambda shard: {"shape": (shape[0] // parts, *shape[1:])})


def _copy(name: str, doc: str, operands: tuple[str, ...], **cells: object) -> Op:
    defaults: dict[str, object] = {
        "fusion": Fusion.COPY,
        "alias": _MOVES,
        "flops": lambda result, *operands, **attrs: 0,
    }
    return Op(name=name, doc=doc, operands=operands, **(defaults | cells))  # type: ignore[arg-type]


_RANGE = {
    "axis": Attr(int, 1, least=0),
    "start": Attr(int, 0, least=0),
    "size": Attr(int, least=1),
}

ROWS = (
    _copy(
        "concat",
        "Operands side by side along an axis.",
        ("*xs",),
        type=concat_type,
        reference=lambda *xs, axis: np.concatenate(xs, axis=axis),
        gradient={"xs": _concat_dx},
        split=_split_off_axis_1,
        attrs={"axis": Attr(int, 1, least=0)},
    ),
    _copy(
        "slice",
        "`size` elements from `start` along an axis.",
        ("x",),
        type=slice_type,
        reference=_slice,
        gradient={"x": _slice_dx},
        split=_split_off_axis_1,
        bytes=lambda result, x, **_: 2 * result.bytes,
        attrs=_RANGE,
    ),
    _copy(
        "unslice",
        "dy inside a zero tensor of `size` elements along an axis, from `start` on.",
        ("dy",),
        type=unslice_type,
        reference=_unslice,
        gradient={"dy": _unslice_dx},
        split=_split_off_axis_1,
        attrs=_RANGE,
    ),
    _copy(
        "flatten",
        "[N,...] as a matrix.",
        ("x",),
        type=flatten_type,
        reference=lambda x: x.reshape(len(x), -1),
        gradient={"x": lambda a: a.emit("unflatten", a.dy, shape=a.inputs[0].type.shape[1:])},
        split=split_locally,
        fusion=Fusion.VIEW,
        alias=("x",),
    ),
    _copy(
        "unflatten",
        "A matrix as [N,*shape].",
        ("x",),
        type=unflatten_type,
        reference=lambda x, *, shape: x.reshape(len(x), *shape),
        gradient={"x": lambda a: a.emit("flatten", a.dy)},
        split=_unflatten_split,
        fusion=Fusion.VIEW,
        alias=("x",),
        attrs={"shape": Attr(tuple, least=1)},
    ),
    _copy(
        "transfer",
        "The operand, on device `to`.",
        ("x",),
        type=_transfer_type,
        reference=lambda x, *, to: x,
        gradient={"x": _transfer_dx},
        split=Absent("exists only after place; splitting is done before"),
        attrs={"to": Attr(int, least=0, below=MAX_DEVICES)},
    ),
)
