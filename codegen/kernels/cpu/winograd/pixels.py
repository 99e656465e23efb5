"""The pixels of a row of tiles as minimal filtering multiplies them: B^T x B."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from codegen.kernels.cpu.linear import ZERO, transform
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.winograd.phases import Phases
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.memory import Scratch
from codegen.loops import Expr


@dataclass(frozen=True)
class Strip:
    """`tiles` tiles from number `first` on in row `row` of tiles, in a block of images."""

    block: Expr
    row: Expr
    first: Expr
    tiles: int


class Pixels:
    """Transforms strips of one source, one source map and phase at a time."""

    def __init__(self, w: Writer, phases: Phases, source: Any, tiles: int) -> None:
        """Reserve what strips of so many tiles take; call it inside `tasks`."""
        self._w, self._phases, self._source = w, phases, source
        self._steps = tiles * phases.across.size + phases.across.taps - 1
        self._half = w.scratch(phases.down.products, self._steps, LANES)

    def transform(
        self,
        strip: Strip,
        channel: Expr,
        phase: tuple[Expr, Expr],
        result: Scratch,
        at: Callable[[Expr, Expr], tuple[Expr, ...]],
    ) -> None:
        """result[at(product, tile)] for all products and tiles of the strip."""
        w, down, across = self._w, self._phases.down, self._phases.across
        self._columns(strip, channel, phase)
        with w.serial(strip.tiles) as tile, w.serial(down.products) as i:
            vectors = [
                self._half[i, tile * across.size + j, VECTOR] for j in range(across.products)
            ]
            first = i * across.products
            transform(w, across.forward.input, vectors, result, lambda j: at(first + j, tile))

    def _columns(self, strip: Strip, channel: Expr, phase: tuple[Expr, Expr]) -> None:
        """Transform along the columns; what lies outside the image is zero."""
        w, down, across, half = self._w, self._phases.down, self._phases.across, self._half
        left, right = map(w.let, across.inside(strip.first * across.size, self._steps, phase[1]))
        upper, lower = map(w.let, down.inside(strip.row * down.size, down.products, phase[0]))
        with w.serial(down.products) as i:
            with w.serial(left) as x:
                w.put(half, ZERO, i, x, VECTOR)
            with w.serial(self._steps - right, right) as x:
                w.put(half, ZERO, i, x, VECTOR)
        for begin, end in down.spans():
            with w.when(tirx.all(upper == begin, lower == end)), w.serial(right - left, left) as x:
                column = across.pixel(strip.first * across.size + x, phase[1])
                vectors = [
                    self._source[
                        strip.block, channel, self._row(strip, j, phase[0]), column, VECTOR
                    ]
                    if begin <= j < end
                    else None
                    for j in range(down.products)
                ]
                transform(w, down.forward.input, vectors, half, lambda i: (i, x))

    def _row(self, strip: Strip, step: int, phase: Expr) -> Expr:
        down = self._phases.down
        return down.pixel(strip.row * down.size + step, phase)
