"""What a node costs: FLOPs, multiply-accumulates, bytes moved. Formulas stand in the op table."""

from ir.graph import Node
from ir.op import Fusion
from ir.ops import row_of


def flops(node: Node) -> int:
    """Floating-point operations of one run; a multiply-accumulate counts two."""
    types = (operand.type for operand in node.inputs)
    return row_of(node).flops(node.type, *types, **node.attrs)


def macs(node: Node) -> int:
    """Multiply-accumulates of a contraction, taps in the padding included; 0 for other ops."""
    return flops(node) // 2 if row_of(node).fusion is Fusion.ANCHOR else 0


def bytes_moved(node: Node) -> int:
    """Bytes read and written when every operand is read once."""
    types = (operand.type for operand in node.inputs)
    return row_of(node).bytes(node.type, *types, **node.attrs)
