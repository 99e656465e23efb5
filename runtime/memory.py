"""Tensors in the memory of a device, whatever kind that is."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ir.plan import Tensor
from runtime.packing import Array, pack, unpack

Bytes = npt.NDArray[np.uint8]

DTYPES: dict[str, "np.dtype[Any]"] = {
    "f32": np.dtype("<f4"),
    "bf16": np.dtype("<f4"),
    "u8": np.dtype("u1"),
    "i32": np.dtype("<i4"),
    "u32": np.dtype("<u4"),
}
"""Of values by the plan's names. NumPy has no bf16: to the host it is float32, rounded."""


class Memory(Protocol):
    """The arena of a logical device. Nothing runs there while the host reads or writes."""

    def read(self, offset: int, size: int) -> Bytes:
        """The bytes from an offset on: a copy, or a view to be copied before anything runs."""

    def write(self, offset: int, data: Bytes) -> None:
        """Put bytes at an offset."""


Memories = Sequence[Memory]
"""The arena of each logical device."""


def read_tensor(memories: Memories, tensor: Tensor) -> Array:
    """A copy of a tensor's logical value."""
    stored = memories[tensor.device].read(tensor.offset, tensor.bytes)
    return unpack(decoded(stored, tensor.dtype), tensor.layout)


def write_tensor(memories: Memories, tensor: Tensor, value: Array) -> None:
    """Put a logical value, of the tensor's shape and dtype, where the tensor lies."""
    write_packed(memories, tensor, pack(encoded(value, tensor.dtype), tensor.layout))


def write_packed(memories: Memories, tensor: Tensor, packed: Array) -> None:
    """The same, with the padding and permuting done."""
    memories[tensor.device].write(tensor.offset, as_bytes(packed))


def filled(tensor: Tensor, value: float) -> Array:
    """A tensor of one number everywhere, packed."""
    everywhere = np.full(tensor.layout.shape, value, DTYPES[tensor.dtype])
    return pack(encoded(everywhere, tensor.dtype), tensor.layout)


def as_bytes(packed: Array) -> Bytes:
    """The memory of a contiguous array."""
    return packed.reshape(-1).view(np.uint8)


# ---------------------------------------------------------------------------- elements


def decoded(stored: Bytes, dtype: str) -> Array:
    """The numbers that bytes stand for: a view, or of bf16 a copy."""
    if dtype != "bf16":
        return stored.view(DTYPES[dtype])
    return (stored.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def encoded(values: Array, dtype: str) -> Array:
    """Values of the dtype as elements in memory: bf16 as 16 bits each, rounded to nearest even."""
    if dtype != "bf16":
        return values
    numbers = np.asarray(values, np.float32).reshape(-1)
    bits = numbers.view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Rounding up would carry a NaN's bits into its sign.
    nearest = np.where(np.isnan(numbers), bits | np.uint32(0x400000), nearest)
    return (nearest >> np.uint32(16)).astype(np.uint16).reshape(values.shape)
