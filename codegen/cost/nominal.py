"""What a kernel does by its ops' formulas, where its instructions were not counted."""

from ir.cost import flops
from ir.graph import Graph, Node
from ir.op import Fusion
from ir.ops import row_of
from ir.ops.precision import form_of
from ir.plan import Work

VECTOR_FLOPS = 32
"""Of a multiply-add of 16 lanes."""
TENSOR = {"tf32": 1.0, "bf16": 0.5}
"""Of multiply-adds in a form, how many count; others are no tensor core's."""


def nominal_work(region: Graph) -> Work:
    """All FLOPs as multiply-adds, of threads or of tensor cores."""
    threads, tensor = 0.0, 0.0
    for node in region.nodes:
        if weight := TENSOR.get(_form(node)):
            tensor += weight * flops(node) / VECTOR_FLOPS
        else:
            threads += flops(node) / VECTOR_FLOPS
    return Work(int(threads), 0, 0, 0, 0, 0, tensor=int(tensor))


def _form(node: Node) -> str:
    return form_of(node) if row_of(node).fusion is Fusion.ANCHOR else ""
