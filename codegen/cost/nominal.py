"""What a kernel does by its ops' formulas, where its instructions were not counted."""

from ir.cost import flops
from ir.graph import Graph, Node
from ir.op import Fusion
from ir.ops import row_of
from ir.ops.precision import form_of
from ir.plan import Work

VECTOR_FLOPS = 32
"""Of a multiply-add of 16 lanes."""
TENSOR = ("tf32", "bf16")
"""The forms of operands that tensor cores multiply."""


def nominal_work(region: Graph, contraction: int | None = None) -> Work:
    """All FLOPs as multiply-adds, of threads or of tensor cores; those of its contraction may be
    known to be fewer."""
    done = dict.fromkeys(("multiply_adds", *TENSOR), 0.0)
    for node in region.nodes:
        known = contraction if row_of(node).fusion is Fusion.ANCHOR else None
        done[_kind(node)] += (flops(node) if known is None else known) / VECTOR_FLOPS
    others = dict.fromkeys(("simple", "dear", "loads", "stores", "scalars"), 0)
    return Work(**others, **{kind: int(count) for kind, count in done.items()})


def _kind(node: Node) -> str:
    """What an op's instructions are, as in `Work`."""
    form = form_of(node) if row_of(node).fusion is Fusion.ANCHOR else ""
    return form if form in TENSOR else "multiply_adds"
