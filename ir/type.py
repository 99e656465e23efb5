"""Types: what a value is, how big, and where.

Text form: `f32[96,3,11,11]@dev0`; a value not placed yet has no `@`; `f32[]` is a scalar.
"""

from dataclasses import dataclass
from enum import Enum
from math import prod

from ir.command import Error

MAX_RANK = 8
MAX_ELEMENTS = 2**40
MAX_DEVICES = 10_000


class IRError(Error):
    """A program breaks a law of the IR."""


class DType(Enum):
    """Element types. `bf16` is storage: arithmetic on it accumulates in f32."""

    F32 = "f32"
    BF16 = "bf16"
    U8 = "u8"
    I32 = "i32"
    U32 = "u32"

    @property
    def bytes(self) -> int:
        """Size of one element."""
        return _BYTES[self]

    @property
    def is_float(self) -> bool:
        """Whether values of this type carry gradients."""
        return self in (DType.F32, DType.BF16)

    def __str__(self) -> str:
        return self.value


_BYTES = {DType.F32: 4, DType.BF16: 2, DType.U8: 1, DType.I32: 4, DType.U32: 4}


@dataclass(frozen=True, order=True)
class Device:
    """A logical device. Which physical one it is bound to is the runtime's choice."""

    index: int

    def __str__(self) -> str:
        return f"dev{self.index}"


@dataclass(frozen=True)
class TensorType:
    """Shape, element type and device of a value.

    Raises IRError for a dimension below 1, more than 8 dimensions or 2^40 elements.
    """

    shape: tuple[int, ...]
    dtype: DType
    device: Device | None = None

    def __post_init__(self) -> None:
        if len(self.shape) > MAX_RANK:
            raise IRError(f"shape has {len(self.shape)} dimensions, expected at most {MAX_RANK}")
        if any(d < 1 for d in self.shape):
            raise IRError(f"shape {list(self.shape)} has an empty dimension, expected all >= 1")
        if prod(self.shape) > MAX_ELEMENTS:
            raise IRError(f"shape {list(self.shape)} is too large, expected <= 2^40 elements")

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes, densely packed."""
        return self.elements * self.dtype.bytes

    def on(self, device: Device | None) -> "TensorType":
        """The same tensor elsewhere."""
        return self if device == self.device else TensorType(self.shape, self.dtype, device)

    def with_shape(self, *shape: int) -> "TensorType":
        """The same element type and device, another shape."""
        return TensorType(shape, self.dtype, self.device)

    def with_dtype(self, dtype: DType) -> "TensorType":
        """The same shape and device, another element type."""
        return TensorType(self.shape, dtype, self.device)

    def __str__(self) -> str:
        place = f"@{self.device}" if self.device else ""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{place}"
