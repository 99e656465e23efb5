"""Between logical arrays and their bytes in an arena; interprets `ir.plan.Layout`, nothing else."""

import numpy as np
import numpy.typing as npt

from ir.plan import Layout

Array = npt.NDArray[np.generic]


def pack(array: Array, layout: Layout) -> Array:
    """The array as it lies in memory, padded with zeros; itself, if it lies there so.

    Raises ValueError for another shape.
    """
    if array.shape != layout.shape:
        raise ValueError(f"expected shape {list(layout.shape)}, got {list(array.shape)}")
    extra = [(0, p - s) for p, s in zip(layout.padded, layout.shape, strict=True)]
    padded = np.pad(array, extra) if any(after for _, after in extra) else array
    return np.ascontiguousarray(padded.reshape(_split_shape(layout)).transpose(layout.order))


def unpack(memory: Array, layout: Layout) -> Array:
    """The logical array of what lies in memory (a flat array), the padding dropped."""
    split = _split_shape(layout)
    stored = memory.reshape([split[axis] for axis in layout.order])
    logical = stored.transpose(np.argsort(layout.order).astype(int)).reshape(layout.padded)
    return np.array(logical[tuple(slice(extent) for extent in layout.shape)], order="C")


def _split_shape(layout: Layout) -> tuple[int, ...]:
    factors = dict(layout.splits)
    shape: list[int] = []
    for axis, extent in enumerate(layout.padded):
        inner = factors.get(axis)
        shape += [extent] if inner is None else [extent // inner, inner]
    return tuple(shape)
