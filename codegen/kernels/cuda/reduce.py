"""The sum over images: lanes change from images to channels.

A block sums images and trailing axes of one channel, or a part of them; whoever reads the sum adds
the parts. All orders are fixed.
"""

from math import prod

from tvm import tirx

from codegen.kernels.cuda.block import Block, total
from codegen.kernels.cuda.writer import WARP, Maker, Writer
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane, Rule
from codegen.loops import Expr
from ir.graph import Node

_ROWS = 8
_BLOCKS = 1024  # enough to keep a large GPU busy
_LEAST = 8  # vectors that a row of threads should sum before blocks share a channel
_LANES = 4


def _bias_dw(w: Writer, node: Node) -> Rule:
    (dy,), shape = node.inputs, node.type.shape
    inner = dy.type.shape[1 + len(shape) :]
    vectors = w.blocks(dy.type) * prod(inner)
    rows = min(_ROWS, vectors)
    lanes = 1 if rows % _LANES else _LANES
    parts = max(1, min(-(-_BLOCKS // prod(shape)), vectors // (rows * _LEAST)))
    sums = w.workspace(parts, *w.layout.shape(node.type))
    with w.launch(parts * prod(shape), rows // lanes, lanes) as (number, row):
        block = Block(w, rows, row)
        part, *at = w.indices(number, (parts, *shape))
        added = w.register()
        added.set(f32(0))
        with w.serial(-(-vectors // (parts * rows))) as turn:
            vector = w.let((turn * parts + part) * rows + row)
            with w.when(vector < vectors):
                n, *rest = w.indices(vector, (w.blocks(dy.type), *inner))
                of_images = _images(w, dy, n, at, rest)
                added.set(lambda lane: added(lane) + of_images(lane))
        whole = block.over_lanes(block.over_rows(added, lambda a, b: a + b))
        channel, *rest = at
        with w.when(tirx.all(row == 0, w.lane == 0)):
            w.put(sums, whole(w.lane), part, channel // WARP, *rest, channel % WARP)
    return lambda p, _: total(w, parts, lambda part: sums[part, *p.at, w.lane])


def _images(w: Writer, dy: Node, block: Expr, at: list[Expr], rest: list[Expr]) -> Lane:
    """The images of a block; padding counts for nothing."""
    value = w.row(w.home(dy), (block, *at, *rest))
    if dy.type.shape[0] % WARP == 0:
        return value
    valid = w.valid_lanes(dy, block)
    return lambda lane: tirx.Select(lane < valid, value(lane), f32(0))


MAKERS: dict[str, Maker] = {"bias_dw": _bias_dw}
