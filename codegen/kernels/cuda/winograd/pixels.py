"""The pixels of tiles as minimal filtering multiplies them: B^T x B. A lane is an image."""

from codegen.kernels.cuda.operand import Element
from codegen.kernels.cuda.winograd.transform import numbered, read, transform
from codegen.kernels.cuda.winograd.turn import Turn, each_tile
from codegen.kernels.cuda.writer import Writer
from codegen.kernels.memory import Scratch
from codegen.loops import Expr
from ir.graph import Node


def transform_pixels(w: Writer, source: Node, turn: Turn, result: Scratch) -> None:
    """result[products, maps x phases, columns, lanes]; zero where there is no pixel."""
    down, across = turn.phases.down, turn.phases.across
    with each_tile(w, turn, source.type.shape[1] * turn.phases.count) as (depth, tile):
        channel, *phase = turn.phases.of(w, depth)
        top, left = w.fixed(down.start(tile.row)), w.fixed(across.start(tile.column))

        def load(i: Expr, j: Expr) -> Expr:
            y, x = down.pixel(top + i, phase[0]), across.pixel(left + j, phase[1])
            index = tile.block, channel, y, x, w.lane
            valid = down.meets(y) + across.meets(x) + tile.holds_image(w, source)
            return read(Element(w.buffers[source], index, valid))

        def store(i: Expr, j: Expr, value: Expr) -> None:
            w.put(result, value, turn.phases.panel(i, j), depth, tile.place(j), w.lane)

        for one, other in tile.kinds(w):
            matrices = one.forward.input, other.forward.input
            transform(w, matrices, load, numbered((one, other), store))
