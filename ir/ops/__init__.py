"""The op table, and `apply`, the only maker of nodes."""

from types import MappingProxyType

from ir.graph import AttrValue, Node
from ir.op import Op
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
    row = lookup(op)
    _check_arity(row, inputs)
    checked = row.check_attrs(attrs)
    device = _join_devices(row, inputs)
    if row.is_leaf:
        if type is None:
            raise IRError(f"{op} needs a declared type")
        inferred = row.type(type, **checked)
    else:
        inferred = row.type(*(node.type for node in inputs), **checked)
        inferred = inferred if op == "transfer" else inferred.on(device)
    if type is not None and type != inferred:
        raise IRError(f"{name}: written type {type}, but {op} gives {inferred}")
    return Node(op, inputs, MappingProxyType(checked), inferred, name)


def _check_arity(row: Op, inputs: tuple[Node, ...]) -> None:
    least = len(row.operands)
    if len(inputs) < least or (len(inputs) > least and not row.variadic):
        expected = ", ".join(row.operands) or "none"
        raise IRError(f"{row.name} got {len(inputs)} operands, expected {expected}")


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
