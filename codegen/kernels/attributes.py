"""Attributes of nodes by the type that their schema declares."""

from ir.graph import Node


def integer(node: Node, name: str) -> int:
    """An attribute that is an integer."""
    value = node.attrs[name]
    assert isinstance(value, int)
    return value


def integers(node: Node, name: str) -> tuple[int, ...]:
    """An attribute that is a tuple."""
    value = node.attrs[name]
    assert isinstance(value, tuple)
    return value
