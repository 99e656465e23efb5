"""The gradients of results as minimal filtering multiplies them for a weight gradient: G dy G^T. A
lane is an image."""

from codegen.kernels.cuda.operand import Element
from codegen.kernels.cuda.winograd.transform import numbered, read, transform
from codegen.kernels.cuda.winograd.turn import Turn, each_tile
from codegen.kernels.cuda.writer import Writer
from codegen.kernels.memory import Scratch
from codegen.loops import Expr
from ir.graph import Node


def transform_cotangents(w: Writer, dy: Node, turn: Turn, result: Scratch) -> None:
    """result[products, maps, columns, lanes]; lanes without an image are zero."""
    down, across = turn.phases.down, turn.phases.across
    with each_tile(w, turn, dy.type.shape[1]) as (map, tile):
        top, left = w.fixed(down.start(tile.row)), w.fixed(across.start(tile.column))

        def load(i: Expr, j: Expr) -> Expr:
            index = tile.block, map, top + i, left + j, w.lane
            return read(Element(w.buffers[dy], index, tile.holds_image(w, dy)))

        def store(i: Expr, j: Expr, value: Expr) -> None:
            w.put(result, value, turn.phases.panel(i, j), map, tile.place(j), w.lane)

        for one, other in tile.kinds(w):
            matrices = one.gradient.taps_matrix, other.gradient.taps_matrix
            transform(w, matrices, load, numbered((one, other), store))
