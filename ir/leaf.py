"""Leaves and the logical tensors they are pieces of.

Feeds, checkpoints and initial values speak of logical tensors; a leaf may be one of several
pieces (`ir/ops/leaf.py`).
"""

from ir.graph import Graph, Node


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


def copied(leaf: Node) -> str:
    """The logical name of the parameter that a leaf is the bf16 copy of; empty for others."""
    return str(leaf.attrs.get("copies", ""))


def fed_name(leaf: Node) -> str:
    """The logical tensor that a leaf takes its value from."""
    return copied(leaf) or logical_name(leaf)


def bf16_copies(graph: Graph) -> dict[Node, Node]:
    """Map the parameters of a program to their bf16 copies, where they have one."""
    found = {(copied(leaf), *_place(leaf)): leaf for leaf in graph.leaves("state") if copied(leaf)}
    known = {param: (logical_name(param), *_place(param)) for param in graph.leaves("param")}
    return {param: found[key] for param, key in known.items() if key in found}


def _place(leaf: Node) -> tuple[object, ...]:
    """Which piece a leaf is, and on which device."""
    return logical_shape(leaf), offset_of(leaf), leaf.type.shape, leaf.device


def _ints(leaf: Node, attr: str) -> tuple[int, ...]:
    value = leaf.attrs.get(attr, ())
    assert isinstance(value, tuple)
    return value
