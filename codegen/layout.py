"""How values lie in memory: axis 0 is cut into blocks of 16, and the 16 lie innermost.

An activation [N,C,H,W] is stored as [N/16][C][H][W][16], so one vector lane is one image;
convolution weights [O,I,kh,kw] as [O/16][I][kh][kw][16] and dense ones as [O/16][I][16], so one
lane is one output. Axis 0 is padded to full blocks; everything else is dense. Views that keep
axis 0 (flatten) are free, and pieces along axis 1 are contiguous in every block.
"""

from ir.plan import Layout
from ir.type import TensorType

LANES = 16


def blocks(type: TensorType) -> int:
    """Blocks of 16 along axis 0; 1 for a scalar."""
    return -(-type.shape[0] // LANES) if type.shape else 1


def physical_shape(type: TensorType) -> tuple[int, ...]:
    """[blocks, the other axes, 16]; [1] for a scalar."""
    return (blocks(type), *type.shape[1:], LANES) if type.shape else (1,)


def physical_bytes(type: TensorType) -> int:
    """Bytes with the padding."""
    padded = blocks(type) * LANES if type.shape else 1
    return type.bytes // (type.shape[0] if type.shape else 1) * padded


def layout(type: TensorType) -> Layout:
    """The record that packing and unpacking go by."""
    if not type.shape:
        return Layout(shape=(), padded=(), splits=(), order=())
    axes = range(2, type.rank + 1)
    return Layout(
        shape=type.shape,
        padded=(blocks(type) * LANES, *type.shape[1:]),
        splits=((0, LANES),),
        order=(0, *axes, 1),
    )
