"""How values lie in memory: axis 0 is cut into blocks of lanes, and the lanes lie innermost.

With 16 lanes an activation [N,C,H,W] is stored as [N/16][C][H][W][16], so one vector lane is one
image; convolution weights [O,I,kh,kw] as [O/16][I][kh][kw][16] and dense ones as [O/16][I][16], so
one lane is one output. Axis 0 is padded to full blocks; everything else is dense. Views that keep
axis 0 (flatten) are free, and pieces along axis 1 are contiguous in every block.

Bytes are the exception: u8 tensors of rank 2 and more, which are images as somebody feeds them, lie
plain, one image after the other, as whoever feeds them has them. They have as many bytes as in
blocks.
"""

from dataclasses import dataclass

from ir.plan import Layout
from ir.type import DType, TensorType

LANES = {"cpu": 16, "cuda": 32}
"""By kind of device: floats of the widest vector register, threads of a warp."""


@dataclass(frozen=True)
class Blocked:
    """The layout with so many lanes."""

    lanes: int

    def blocks(self, type: TensorType) -> int:
        """Blocks along axis 0; 1 for a scalar."""
        return -(-type.shape[0] // self.lanes) if type.shape else 1

    def shape(self, type: TensorType) -> tuple[int, ...]:
        """[blocks, the other axes, lanes]; [1] for a scalar."""
        return (self.blocks(type), *type.shape[1:], self.lanes) if type.shape else (1,)

    def bytes(self, type: TensorType) -> int:
        """Bytes with the padding."""
        padded = self.blocks(type) * self.lanes if type.shape else 1
        return type.bytes // (type.shape[0] if type.shape else 1) * padded

    def plain(self, type: TensorType) -> tuple[int, ...] | None:
        """The extents of a value that lies in row-major order, axis 0 padded to full blocks; None
        for one in blocks."""
        if type.dtype is not DType.U8 or type.rank < 2:
            return None
        return (self.blocks(type) * self.lanes, *type.shape[1:])

    def record(self, type: TensorType) -> Layout:
        """What packing and unpacking go by."""
        if not type.shape:
            return Layout(shape=(), padded=(), splits=(), order=())
        if plain := self.plain(type):
            return Layout(shape=type.shape, padded=plain, splits=(), order=tuple(range(type.rank)))
        axes = range(2, type.rank + 1)
        return Layout(
            shape=type.shape,
            padded=(self.blocks(type) * self.lanes, *type.shape[1:]),
            splits=((0, self.lanes),),
            order=(0, *axes, 1),
        )


def layout_of(kind: str) -> Blocked:
    """The layout of a kind of device."""
    return Blocked(LANES[kind])
