"""Pixels as they are fed become vectors of images: regions that read plain images, rows at a time.

A vector holds 16 columns of one image while values are computed; 16 images of a row are transposed
before they are stored. A task is some rows of one map of 16 images. What `center` subtracts is put
in the same order first.
"""

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from codegen.kernels import pointwise, writer
from codegen.kernels.cpu.stage import nested
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.transpose import transposed
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.grouping import Grouping
from codegen.kernels.memory import Home
from codegen.kernels.writer import TIR_DTYPE, Lane, Position
from codegen.loops import Expr
from codegen.region import operands
from codegen.targets import Cpu
from ir.graph import Graph, Node
from ir.type import DType

OPS = {"cast", "crop", "center", "channel_shift", "bias_add", "scale", "scale_by", "relu"}
"""Of an element they read its own image, at its own position or a crop's, and what all share."""


def images(region: Graph, target: Cpu) -> Built | str:
    """The kernel of a region, or why there is none."""
    return _refusal(region) or _Kernel(Writer(region, target)).build()


def _refusal(region: Graph) -> str | None:
    inside = [node for node in region.nodes if node.inputs]
    if strange := [node.op for node in inside if node.op not in OPS]:
        return f"{strange[0]} is no op of this family"
    groups = Grouping(region).groups
    if region.updates or len(groups) != 1:
        return "it is not one nest of loops over a result"
    read = {x for x in operands(region) if x.type.rank == 4}
    if not read or any(x.type.dtype is not DType.U8 for x in read):
        return "it reads other values than images of bytes"
    if any(y.type.dtype is not DType.F32 or y.type.shape[3] < LANES for y in region.outputs):
        return f"its results are no images of floats at least {LANES} wide"
    return None


class _Run(Position):
    """The values of one image at 16 columns: `at` is (image, map, row, the first column)."""

    def index(self, lane: Expr) -> tuple[Expr, ...]:
        if len(self.at) < 4:
            return self.at
        *outer, first = self.at
        return (*outer, first + lane)

    def read(self, node: Node) -> Lane:
        return lambda lane: self.writer.element(node, *self.index(lane)[: node.type.rank])

    def elsewhere(self, at: Sequence[Expr | Lane]) -> "_Run":
        return _Run(self.writer, self._rules, at)


def _crop(p: Position, node: Node) -> Lane:
    """A run of the image, turned round where it is flipped."""
    w, (image, channel, row, column) = p.writer, p.at
    x, offset, flip = node.inputs
    starts = [p.elsewhere((image, axis)).vector(offset)(0) for axis in (0, 1)]
    flipped = p.elsewhere((image,)).vector(flip)(0) != 0
    (height, width), (rows, columns) = x.type.shape[2:], node.type.shape[2:]

    def first(axis: int, room: int) -> Expr:
        # Padding images hold anything and must stay inside.
        return tirx.min(tirx.max(starts[axis], 0), room)

    column = tirx.Select(flipped, columns - LANES - column, column)
    at = (image, channel, first(0, height - rows) + row, first(1, width - columns) + column)
    dtype = TIR_DTYPE[x.type.dtype]
    run = w.let(p.elsewhere(at).vector(x)(VECTOR), f"{dtype}x{LANES}")
    turned = tirx.Shuffle([run], list(range(LANES))[::-1])
    kept = w.local(LANES, dtype=dtype)
    w.store(kept, tirx.Select(flipped, turned, run), VECTOR)
    return lambda lane: kept[lane]


RULES: dict[str, writer.Rule] = {**pointwise.RULES, "crop": _crop}


class _Kernel:
    """One region being written."""

    def __init__(self, w: Writer) -> None:
        self.w, self._results = w, w.region.outputs
        self._maps, self._height, self._width = self._results[0].type.shape[1:]
        inside = [node for node in w.region.nodes if node.inputs]
        centers = [n for n in inside if n.op == "center" and n.type.rank == 4]
        self._means = dict.fromkeys(node.inputs[1] for node in centers)

    def build(self) -> Built:
        """Write it all."""
        w = self.w
        for mean in self._means:
            self._lay_plain(mean)
        whole = blocks(self._results[0].type) * self._maps
        parts = w.cuts(whole, 1, self._height)
        with w.tasks(whole * parts) as task:
            plane = w.opaque(task // parts)
            block, channel = w.let(plane // self._maps), w.let(plane % self._maps)
            rows = w.scratch(len(self._results), LANES, self._width)
            begin, end = w.part(self._height, task % parts, parts)
            with w.serial(end - begin, begin) as y:
                with w.serial(LANES) as lane:
                    self._compute(rows, lane, (block * LANES + lane, channel, y))
                self._turn(rows, (block, channel, y))
        return w.built(noalias=True)

    def _lay_plain(self, mean: Node) -> None:
        """Copy a mean image into scratch, its maps one after the other."""
        w, (maps, height, width) = self.w, mean.type.shape
        plain = w.shared(maps, height, width)
        with w.tasks(height) as y, nested(w, (width, maps)) as (x, channel):
            w.put(plain, w.element(mean, channel, y, x), channel, y, x)
        w.homes[mean] = Home(w, plain, lambda at: (at[0] * LANES + at[-1], *at[1:-1]))

    def _compute(self, rows: Any, lane: Expr, at: tuple[Expr, ...]) -> None:
        """rows[result, lane] = a row of one image"""
        w = self.w
        with w.serial(-(-self._width // LANES)) as tile:
            run = _Run(w, RULES, (*at, first := self._first(tile)))
            for number, value in enumerate([run.vector(node) for node in self._results]):
                w.put(rows, value(VECTOR), number, lane, first + VECTOR)

    def _turn(self, rows: Any, at: tuple[Expr, ...]) -> None:
        """Store a row of 16 images."""
        w = self.w
        with w.serial(-(-self._width // LANES)) as tile:
            first = self._first(tile)
            for number, node in enumerate(self._results):
                vectors = [rows[number, lane, first + VECTOR] for lane in range(LANES)]
                for x, value in enumerate(transposed(w, vectors)):
                    w.store(w.buffers[node], value, *at, first + x, VECTOR)

    def _first(self, tile: Expr) -> Expr:
        """The first column of a tile; the last one ends with the row and may overlap another."""
        first = tile * LANES
        return tirx.min(first, self._width - LANES) if self._width % LANES else first
