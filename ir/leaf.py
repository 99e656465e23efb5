"""Leaves and the logical tensors they are pieces of.

Feeds, checkpoints and initial values speak of logical tensors; a leaf may be one of several
pieces (`ir/ops/leaf.py`).
"""

from ir.graph import Node


def logical_name(leaf: Node) -> str:
    """The name under which a leaf is fed, kept and reported."""
    return str(leaf.attrs.get("of", "")) or leaf.name


def logical_shape(leaf: Node) -> tuple[int, ...]:
    """The shape of the whole tensor that the leaf is a piece of."""
    return _ints(leaf, "whole") or leaf.type.shape


def offset_of(leaf: Node) -> tuple[int, ...]:
    """Where the leaf begins in its logical tensor."""
    return _ints(leaf, "offset") or (0,) * leaf.type.rank


def piece(leaf: Node) -> tuple[slice, ...]:
    """The part of the logical tensor that the leaf is."""
    return tuple(slice(o, o + d) for o, d in zip(offset_of(leaf), leaf.type.shape, strict=True))


def _ints(leaf: Node, attr: str) -> tuple[int, ...]:
    value = leaf.attrs.get(attr, ())
    assert isinstance(value, tuple)
    return value
