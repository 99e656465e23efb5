"""The weights of a convolution as minimal filtering multiplies them: G w G^T, once per step."""

from tvm import tirx

from codegen.kernels.cpu.linear import ZERO, transform
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.writer import LANES, Writer, blocks
from codegen.kernels.memory import Scratch
from codegen.kernels.winograd.phases import Phases
from codegen.loops import Expr
from ir.graph import Node


def transformed(w: Writer, weights: Node, phases: Phases) -> Scratch:
    """[products, blocks of maps, source maps x phases, 16 maps], which all threads share."""
    down, across = phases.down, phases.across
    columns, rows = (side.kinds[0].forward.taps_matrix for side in (down, across))
    depth = weights.type.shape[1] * phases.count
    result = w.shared(phases.products, blocks(weights.type), depth, LANES, skew=LANES)
    with w.tasks(blocks(weights.type) * depth) as task:
        k, d = w.let(task // depth), w.let(task % depth)
        channel, row, column = phases.of(w, d)
        half = w.scratch(down.products, across.taps, LANES)
        filters = w.buffers[weights]

        def tap(r: Expr, s: Expr) -> Expr:
            return filters[k, channel, down.tap(r, row), across.tap(s, column), VECTOR]

        taps = w.let(across.count(column))
        with w.serial(across.taps) as s:
            for count in down.counts:
                with w.when(tirx.all(down.count(row) == count, s < taps)):
                    vectors = [tap(r, s) if r < count else None for r in range(down.taps)]
                    transform(w, columns, vectors, half, lambda i: (i, s))
            with w.when(s >= taps), w.serial(down.products) as i:
                w.put(half, ZERO, i, s, VECTOR)
        with w.serial(down.products) as i:
            vectors = [half[i, s, VECTOR] for s in range(across.taps)]
            panel = i * across.products
            transform(w, rows, vectors, result, lambda j: (panel + j, k, d))
    return result
