"""Leaves: fed values, parameters, states, constants. Their types are declared, not inferred.

A leaf may be a piece of a logical tensor: `of` is the logical name (the node's own by default),
`whole` the logical shape and `offset` where this piece begins. Feeds, checkpoints and
initialisation speak of logical tensors only.

A state may be the bf16 copy of a parameter: `copies` is that one's logical name. It is not fed but
rounded from what the parameter is.
"""

import numpy as np

from ir.op import Absent, Array, Attr, Fusion, Op, require
from ir.type import DType, TensorType

PIECE = {
    "of": Attr(str, ""),
    "whole": Attr(tuple, (), least=1),
    "offset": Attr(tuple, (), least=0),
}


def piece_type(
    declared: TensorType, *, whole: tuple[int, ...], offset: tuple[int, ...], **_: object
) -> TensorType:
    """The declared type, once the piece is known to lie inside its logical tensor."""
    if whole or offset:
        require(
            len(whole) == len(offset) == declared.rank
            and all(o + d <= w for o, d, w in zip(offset, declared.shape, whole, strict=True)),
            f"expected a piece inside the logical shape {list(whole)}, got {declared} at offset "
            f"{list(offset)}",
        )
    return declared


def state_type(
    declared: TensorType,
    *,
    copies: str,
    whole: tuple[int, ...],
    offset: tuple[int, ...],
    **_: object,
) -> TensorType:
    """The declared type, which is bf16 if it is a copy's."""
    require(
        not copies or declared.dtype is DType.BF16,
        f"expected bf16 for a copy of '{copies}', got {declared}",
    )
    return piece_type(declared, whole=whole, offset=offset)


def declared_type(declared: TensorType, **_: object) -> TensorType:
    """A leaf's type is what it says."""
    return declared


def fill(*, value: float) -> Array:
    """A scalar of the given value; the evaluator spreads it over the declared shape."""
    return np.asarray(value)


_NO_INPUTS = Absent("a leaf has no operands")
_FED = Absent("its value is fed, not computed")


_TYPES = {"param": piece_type, "state": state_type}


def _leaf(name: str, doc: str, attrs: dict[str, Attr]) -> Op:
    return Op(
        name=name,
        doc=doc,
        operands=(),
        type=_TYPES.get(name, declared_type),
        reference=fill if name == "constant" else _FED,
        gradient=_NO_INPUTS,
        split=Absent("the op that reads a leaf decides how it is cut"),
        fusion=Fusion.LEAF,
        alias=_NO_INPUTS,
        flops=lambda result, **_: 0,
        bytes=lambda result, **_: 0,
        attrs=attrs,
    )


ROWS = (
    _leaf(
        "input",
        "A tensor fed at every step. Integers lie in [0, below); 0 sets no bound.",
        {"of": Attr(str, ""), "below": Attr(int, 0, least=0)},
    ),
    _leaf(
        "param",
        "A trained tensor, drawn from N(value, std^2) at the start. `rate` multiplies the learning "
        "rate, `decay` the weight decay.",
        {
            **PIECE,
            "value": Attr(float, 0.0),
            "std": Attr(float, 0.0, least=0),
            "rate": Attr(float, 1.0, least=0),
            "decay": Attr(float, 1.0, least=0),
        },
    ),
    _leaf(
        "state",
        "A tensor kept between steps, filled with `value` at the start. With `copies` it always is "
        "the parameter of that name, rounded.",
        {**PIECE, "value": Attr(float, 0.0), "copies": Attr(str, "")},
    ),
    _leaf("constant", "A tensor filled with `value`.", {"value": Attr(float)}),
)
