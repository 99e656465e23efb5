"""Counter-based randomness (Philox 4x32-10; Salmon et al., SC 2011) and dropout.

A number depends on (seed, stream, step, logical element) and on nothing else, so masks do not
depend on devices, threads or resumption, and the shard of a split layer draws what the whole
layer would have drawn there. Element i takes word i mod 4 of the block with
    counter = (low and high word of i div 4, step, 0)    key = (seed, stream)
"""

from math import prod

import numpy as np
import numpy.typing as npt

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
    uneven,
)
from ir.type import DType, TensorType

Words = npt.NDArray[np.uint32]

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counter: tuple[Words, ...], key: tuple[int, int]) -> tuple[Words, ...]:
    """Four 32-bit words for each counter of four 32-bit words: ten rounds."""
    c0, c1, c2, c3 = (word.astype(np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return tuple(word.astype(np.uint32) for word in (c0, c1, c2, c3))


def random_words(elements: npt.NDArray[np.uint64], seed: int, stream: int, step: int) -> Words:
    """One random word for each logical element index."""
    block = elements >> np.uint64(2)
    same = np.zeros_like(block)
    words = philox(
        tuple(w.astype(np.uint32) for w in (block & _LOW, block >> _SHIFT, same + step, same)),
        (seed, stream),
    )
    return np.choose((elements & np.uint64(3)).astype(np.intp), words)


def element_indices(
    shape: tuple[int, ...], whole: tuple[int, ...], offset: tuple[int, ...]
) -> npt.NDArray[np.uint64]:
    """Row-major indices, in a logical tensor, of the elements of a piece of it."""
    index = np.zeros((), np.uint64)
    for axis, (size, start) in enumerate(zip(shape, offset, strict=True)):
        stride = np.uint64(prod(whole[axis + 1 :]))
        along = np.arange(start, start + size, dtype=np.uint64) * stride
        index = index[..., None] + along
    return index


def dropout_type(
    x: TensorType,
    seed: TensorType,
    step: TensorType,
    *,
    whole: tuple[int, ...],
    offset: tuple[int, ...],
    **_: AttrValue,
) -> TensorType:
    """The type of x."""
    require(x.dtype.is_float, f"expected a float operand, got {x}")
    for scalar in (seed, step):
        require(
            scalar.rank == 0 and scalar.dtype is DType.U32,
            f"expected the scalar u32[], got {scalar}",
        )
    if whole or offset:
        require(
            len(whole) == len(offset) == x.rank
            and all(o + d <= w for o, d, w in zip(offset, x.shape, whole, strict=True)),
            f"expected a piece inside the shape {list(whole)}, got {x} at offset {list(offset)}",
        )
    return x


def dropout(
    x: Array,
    seed: Array,
    step: Array,
    *,
    p: float,
    stream: int,
    whole: tuple[int, ...],
    offset: tuple[int, ...],
) -> Array:
    """x where the element's word is at least p * 2^32, else 0 (paper section 4.2: no rescaling)."""
    elements = element_indices(x.shape, whole or x.shape, offset or (0,) * x.ndim)
    words = random_words(elements, int(seed), stream, int(step))
    return np.where(words >= round(p * 2**32), x, 0)


def _split(
    parts: int,
    x: TensorType,
    *scalars: TensorType,
    whole: tuple[int, ...],
    offset: tuple[int, ...],
    **_: AttrValue,
) -> Shards | str:
    if reason := uneven(parts, x):
        return reason
    start = offset or (0,) * x.rank

    def attrs(shard: int) -> dict[str, AttrValue]:
        first = start[1] + shard * (x.shape[1] // parts)
        return {"whole": whole or x.shape, "offset": (start[0], first, *start[2:])}

    return Shards((Local(), Whole(), Whole()), attrs)


_KEY = Absent("a key is fed, never trained")

ROWS = (
    Op(
        name="dropout",
        doc="x with each element dropped with probability p; the kept ones are not rescaled.",
        operands=("x", "seed", "step"),
        type=dropout_type,
        reference=dropout,
        # The mask is a function of the counters: the adjoint applies it again.
        gradient={
            "x": lambda a: a.emit("dropout", a.dy, *a.inputs[1:], **a.attrs),
            "seed": _KEY,
            "step": _KEY,
        },
        split=_split,
        fusion=Fusion.POINTWISE,
        alias=("x",),
        flops=per_element(20),
        attrs={
            "p": Attr(float, least=0, below=1),
            "stream": Attr(int, least=0, below=2**32),
            "whole": Attr(tuple, (), least=1),
            "offset": Attr(tuple, (), least=0),
        },
    ),
)
