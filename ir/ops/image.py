"""From stored uint8 images to the network's input: crop and flip, mean, colour shift.

Their draws (offsets, flips, shifts) are fed: the host makes them, keyed by seed, epoch and image.
"""

import numpy as np

from ir.graph import AttrValue
from ir.op import (
    Absent,
    Array,
    Attr,
    Fusion,
    Local,
    Op,
    Shards,
    Whole,
    per_element,
    require,
    split_locally,
    uneven,
)
from ir.ops.conv import NOT_IN_PLACE
from ir.ops.elementwise import pass_through
from ir.type import DType, TensorType

_FED = Absent("fed, never trained")


def crop_type(
    x: TensorType, offset: TensorType, flip: TensorType, *, size: tuple[int, ...]
) -> TensorType:
    """[N,C,H,W], i32[N,2] and i32[N] give [N,C,*size]."""
    require(x.rank == 4, f"expected images [N,C,H,W], got {x}")
    require(
        size[0] <= x.shape[2] and size[1] <= x.shape[3],
        f"a crop of {list(size)} does not fit, expected at most the images' {list(x.shape[2:])}",
    )
    batch = x.shape[0]
    require(
        offset.shape == (batch, 2) and offset.dtype is DType.I32,
        f"expected offsets i32[{batch},2] as (row, column), got {offset}",
    )
    require(
        flip.shape == (batch,) and flip.dtype is DType.I32,
        f"expected flips i32[{batch}], got {flip}",
    )
    return x.with_shape(*x.shape[:2], *size)


def crop(x: Array, offset: Array, flip: Array, *, size: tuple[int, ...]) -> Array:
    """The pixels from (row, column) on, mirrored left to right where flip is not 0."""
    room = np.asarray(x.shape[2:]) - size
    require(
        bool(((offset >= 0) & (offset <= room)).all()),
        f"an offset leaves the image, expected at most {room.tolist()}",
    )
    rows = offset[:, :1] + np.arange(size[0])
    columns = offset[:, 1:] + np.arange(size[1])
    columns = np.where(flip[:, None] != 0, columns[:, ::-1], columns)
    image = np.arange(len(x))[:, None, None]
    picked = x.transpose(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
    return picked.transpose(0, 3, 1, 2)


def center_type(x: TensorType, mean: TensorType) -> TensorType:
    """x and one mean image of x's own size."""
    require(x.dtype.is_float and x.rank >= 2, f"expected float images, got {x}")
    require(
        mean.shape == x.shape[1:] and mean.dtype is DType.F32,
        f"expected a mean f32{list(x.shape[1:])}, got {mean}",
    )
    return x


def channel_shift_type(x: TensorType, shift: TensorType) -> TensorType:
    """x [N,C,H,W] and one number per image and channel, f32[N,C]."""
    require(x.dtype.is_float and x.rank == 4, f"expected float images [N,C,H,W], got {x}")
    require(
        shift.shape == x.shape[:2] and shift.dtype is DType.F32,
        f"expected shifts f32{list(x.shape[:2])}, got {shift}",
    )
    return x


def _crop_split(parts: int, x: TensorType, *_: TensorType, **__: AttrValue) -> Shards | str:
    return uneven(parts, x) or Shards((Local(), Whole(), Whole()))


def _center_split(parts: int, x: TensorType, mean: TensorType) -> Shards | str:
    return uneven(parts, x) or Shards((Local(), Local(axis=0)))


ROWS = (
    Op(
        name="crop",
        doc="The part of each image from its own offset on, of `size`, mirrored where flip is set.",
        operands=("x", "offset", "flip"),
        type=crop_type,
        reference=crop,
        gradient={"x": Absent("nothing before the crop is trained")},
        split=_crop_split,
        fusion=Fusion.WINDOW,
        alias=NOT_IN_PLACE,
        flops=per_element(0),
        bytes=lambda result, x, *draws, **_: 2 * result.bytes + sum(d.bytes for d in draws),
        attrs={"size": Attr(tuple, least=1, length=2)},
    ),
    Op(
        name="center",
        doc="x minus a mean image.",
        operands=("x", "mean"),
        type=center_type,
        reference=lambda x, mean: x - mean,
        gradient={"x": pass_through, "mean": _FED},
        split=_center_split,
        fusion=Fusion.POINTWISE,
        alias=("x",),
        flops=per_element(1),
    ),
    Op(
        name="channel_shift",
        doc="x plus one number per image and channel (paper section 4.1's colour shift).",
        operands=("x", "shift"),
        type=channel_shift_type,
        reference=lambda x, shift: x + shift[:, :, None, None],
        gradient={"x": pass_through, "shift": _FED},
        split=split_locally,
        fusion=Fusion.POINTWISE,
        alias=("x",),
        flops=per_element(1),
    ),
)
