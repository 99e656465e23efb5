"""The weights of a convolution as minimal filtering multiplies them: G w G^T. A lane is an
output."""

from codegen.kernels.cuda.operand import Element
from codegen.kernels.cuda.winograd.transform import WARPS, read, transform
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.memory import Scratch
from codegen.kernels.winograd.phases import Phases
from codegen.loops import Expr
from ir.graph import Node


def transform_weights(w: Writer, weights: Node, phases: Phases) -> Scratch:
    """[products, maps x phases, outputs]"""
    blocks, depth = w.blocks(weights.type), weights.type.shape[1] * phases.count
    result = w.workspace(phases.products, depth, blocks * WARP)
    with w.tasks(blocks * depth, WARPS) as task:
        block, d = w.indices(task, (blocks, depth))
        channel, *phase = phases.of(w, d)

        def load(r: Expr, s: Expr) -> Expr:
            taps = phases.down.tap(r, phase[0]), phases.across.tap(s, phase[1])
            valid = phases.down.holds(r, phase[0]) + phases.across.holds(s, phase[1])
            return read(Element(w.buffers[weights], (block, channel, *taps, w.lane), valid))

        def store(i: Expr, j: Expr, value: Expr) -> None:
            w.put(result, value, phases.panel(i, j), d, block * WARP + w.lane)

        down, across = (side.kinds[0].forward for side in (phases.down, phases.across))
        transform(w, (down.taps_matrix, across.taps_matrix), load, store)
    return result
