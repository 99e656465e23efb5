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
    "u8": np.dtype("u1"),
    "i32": np.dtype("<i4"),
    "u32": np.dtype("<u4"),
}


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
    return unpack(stored.view(DTYPES[tensor.dtype]), tensor.layout)


def write_tensor(memories: Memories, tensor: Tensor, value: Array) -> None:
    """Put a logical value, of the tensor's shape and dtype, where the tensor lies."""
    write_packed(memories, tensor, pack(value, tensor.layout))


def write_packed(memories: Memories, tensor: Tensor, packed: Array) -> None:
    """The same, with the padding and permuting done."""
    memories[tensor.device].write(tensor.offset, as_bytes(packed))


def filled(tensor: Tensor, value: float) -> Array:
    """A tensor of one number everywhere, packed."""
    return pack(np.full(tensor.layout.shape, value, DTYPES[tensor.dtype]), tensor.layout)


def as_bytes(packed: Array) -> Bytes:
    """The memory of a contiguous array."""
    return packed.reshape(-1).view(np.uint8)
