"""What a contraction reads: elements of its operands, and how these lie in memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

from codegen.kernels.cuda.writer import Writer
from codegen.loops import Expr
from ir.graph import Node


@dataclass(frozen=True)
class Element:
    """Where an element lies; unless all of `valid` holds, it is not read and counts as zero."""

    array: Any
    index: tuple[Expr, ...]
    valid: tuple[Expr, ...] = ()

    def when(self, *conditions: Expr) -> "Element":
        """The same, subject to more conditions."""
        return replace(self, valid=(*self.valid, *conditions))

    def run(self, width: int) -> Expr:
        """The element and its neighbours in memory, so many in all."""
        *outer, inner = self.index
        return self.array[(*outer, ramp(inner, width))]


At = Callable[[Expr, Expr], Element]
"""The element at a step of the chunk and a row (or column) of the tile."""


@dataclass(frozen=True)
class Run:
    """How an operand lies in memory: along the depth, or along rows (or columns).

    `width` neighbours are read at once: they are aligned, and all of them valid or none. Boxes of
    rows (or columns) can be copied that begin at multiples of themselves and do not cross multiples
    of `boxes`, of 0 not any; of None there are no boxes. Those of rows that are `whole` are of so
    many rows, and one tile has them all. A box has maps of one pixel or tap; where there is a
    `window`, it has these extents along [maps, height, width] instead.
    """

    flipped: bool
    width: int
    boxes: int | None = None
    window: tuple[int, ...] = ()
    whole: bool = False


Column = Callable[[Expr, Expr, Expr], Element]
"""The factor at a step of a chunk, for a block of columns and a lane in it."""


@dataclass(frozen=True)
class Chunk:
    """Some steps of a sum: the factors of rows and of columns."""

    row: At
    column: Column


@dataclass(frozen=True)
class Part:
    """The chunks of a part of a sum, numbered begin .. end - 1: for each, the factors of a tile's
    rows and of its columns."""

    begin: Expr
    end: Expr
    at: Callable[[Expr], tuple[At, At]]


def is_kept(operand: Node) -> bool:
    """Whether it is kept between steps, so that its padding is zero."""
    return operand.op != "input"


def ramp(begin: Expr, width: int) -> Expr:
    """The indices of neighbours."""
    return tirx.Ramp(begin, 1, width) if width > 1 else begin


def when(w: Writer, conditions: tuple[Expr, ...]) -> AbstractContextManager[None]:
    """If all of these hold."""
    return w.when(tirx.all(*conditions)) if conditions else nullcontext()
