"""The op table, and `apply`, the only maker of nodes."""

from functools import lru_cache
from types import MappingProxyType

from ir.graph import AttrValue, Node
from ir.op import Op, check_name
from ir.ops import (
    conv,
    dense,
    elementwise,
    image,
    layout,
    leaf,
    local,
    loss,
    norm,
    pool,
    random,
    update,
)
from ir.type import Device, IRError, TensorType

_FAMILIES = (
    leaf,
    elementwise,
    conv,
    local,
    dense,
    pool,
    norm,
    loss,
    layout,
    random,
    image,
    update,
)

TABLE: dict[str, Op] = {row.name: row for family in _FAMILIES for row in family.ROWS}


def lookup(name: str) -> Op:
    """The row of an op. Raises IRError for an unknown name."""
    if name not in TABLE:
        raise IRError(f"unknown op '{name}', expected one of {', '.join(TABLE)}")
    return TABLE[name]


def apply(
    op: str, *inputs: Node, name: str, type: TensorType | None = None, **attrs: AttrValue
) -> Node:
    """Make a node: check arity and attributes, join devices, infer the type.

    A leaf takes `type` as declared; for other ops a given `type` must equal the inferred one.
    Raises IRError saying what was expected.
    """
    check_name(name)
    row = lookup(op)
    _check_arity(row, inputs)
    checked = row.check_attrs(attrs)
    device = _join_devices(row, inputs)
    if row.is_leaf:
        if type is None:
            raise IRError(f"expected a declared type for {op}, got none")
        inferred = row.type(type, **checked)
    else:
        types = tuple(node.type for node in inputs)
        inferred = _infer(op, types, tuple(checked.items()))
        inferred = inferred if op == "transfer" else inferred.on(device)
    if type is not None and type != inferred:
        raise IRError(f"'{name}' is written {type}, expected {inferred}, which {op} gives")
    return Node(op, inputs, MappingProxyType(checked), inferred, name)


@lru_cache(maxsize=4096)
def _infer(
    op: str, types: tuple[TensorType, ...], attrs: tuple[tuple[str, AttrValue], ...]
) -> TensorType:
    """The type rule. Networks repeat themselves, and so do passes: answers are kept."""
    return TABLE[op].type(*types, **dict(attrs))


def _check_arity(row: Op, inputs: tuple[Node, ...]) -> None:
    least = len(row.operands)
    if len(inputs) < least or (len(inputs) > least and not row.variadic):
        expected = ", ".join(name.lstrip("*") for name in row.operands) or "none"
        expected += ", ..." if row.variadic else ""
        count = f"{len(inputs)} operand{'' if len(inputs) == 1 else 's'}"
        raise IRError(f"{row.name} got {count}, expected {expected}")


def _join_devices(row: Op, inputs: tuple[Node, ...]) -> Device | None:
    """The device law: every op but `transfer` finds all its operands where it runs."""
    for node in inputs[1:]:
        if node.device != inputs[0].device:
            raise IRError(
                f"{row.name} has operands on different devices: {inputs[0].name}: "
                f"{inputs[0].type} and {node.name}: {node.type}; expected a transfer between them"
            )
    return inputs[0].device if inputs else None


def row_of(node: Node) -> Op:
    """The row of a node's op."""
    return TABLE[node.op]


def reapply(node: Node, inputs: tuple[Node, ...], name: str = "") -> Node:
    """The same op on other operands, its type inferred anew; the node itself if nothing changes."""
    if inputs == node.inputs and name in ("", node.name):
        return node
    declared = node.type if row_of(node).is_leaf else None
    return apply(node.op, *inputs, name=name or node.name, type=declared, **node.attrs)
