"""The weights of a convolution as minimal filtering multiplies them: G w G^T; their gradients as it
finds them: A^T dw A. A lane is an output."""

from math import prod

from codegen.kernels.cuda.operand import Element, when
from codegen.kernels.cuda.winograd.transform import WARPS, read, transform
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.epilogue import Epilogue
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


def transform_weights_back(
    w: Writer, dw: Node, sums: Scratch, phases: Phases, epilogue: Epilogue
) -> None:
    """From sums[products, maps x phases, outputs] to the gradient, and what follows. Padding lanes
    are left as they are: those of states are zero."""
    (outputs, channels), down, across = dw.type.shape[:2], phases.down, phases.across
    extents = w.blocks(dw.type), channels * phases.count
    with w.tasks(prod(extents), WARPS) as task:
        block, d = w.indices(task, extents)
        channel, *phase = phases.of(w, d)
        taps = w.local(down.taps * across.taps)

        def load(i: Expr, j: Expr) -> Expr:
            return sums[phases.panel(i, j), d, block * WARP + w.lane]

        def store(r: Expr, s: Expr, value: Expr) -> None:
            w.store(taps, value, r * across.taps + s)

        one, other = (side.kinds[0].gradient for side in (down, across))
        transform(w, (one.output, other.output), load, store)
        valid = (block * WARP + w.lane < outputs,) if outputs % WARP else ()
        with when(w, valid), w.unrolled(down.taps) as r, w.unrolled(across.taps) as s:
            at = block, channel, down.tap(r, phase[0]), across.tap(s, phase[1])
            with when(w, down.holds(r, phase[0]) + across.holds(s, phase[1])):
                epilogue.write(at, lambda lane: taps[r * across.taps + s])
