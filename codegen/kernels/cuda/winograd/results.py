"""The results of tiles from what minimal filtering multiplied: A^T m A, and what follows. A lane is
an image."""

from codegen.kernels.cuda.operand import when
from codegen.kernels.cuda.winograd.transform import numbered, transform
from codegen.kernels.cuda.winograd.turn import Turn, each_tile
from codegen.kernels.cuda.writer import Writer
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.loops import Expr
from ir.graph import Node


def transform_back(
    w: Writer, node: Node, products: Scratch, turn: Turn, epilogue: Epilogue
) -> None:
    """From products[products, maps, columns, lanes] to results, one after another."""
    down, across = turn.phases.down, turn.phases.across
    with each_tile(w, turn, node.type.shape[1]) as (map, tile):
        results = w.local(down.size * across.size)

        def load(i: Expr, j: Expr) -> Expr:
            return products[turn.phases.panel(i, j), map, tile.place(j), w.lane]

        def store(i: Expr, j: Expr, value: Expr) -> None:
            w.store(results, value, i * across.size + j)

        for one, other in tile.kinds(w):
            matrices = one.forward.output, other.forward.output
            transform(w, matrices, numbered((one, other), load), store)
        with w.unrolled(down.size) as i, w.unrolled(across.size) as j:
            at = tile.block, map, down.start(tile.row) + i, across.start(tile.column) + j
            valid = down.lies(i, tile.row) + across.lies(j, tile.column) + tile.holds_image(w, node)
            with when(w, valid):
                epilogue.write(at, lambda lane: results[i * across.size + j])
