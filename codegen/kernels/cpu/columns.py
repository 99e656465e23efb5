"""How tiles cut a row of results into columns, and which taps meet a pixel in each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from codegen.kernels.axis import Axis, Phase
from codegen.kernels.cpu.tile import Run, best_shape, pieces

UNROLLED = 16
"""Windows wider than this get a loop over their columns."""

Met = tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class Columns:
    """Tiles along a row, at steps q of a phase.

    `met` tells for each tap of the phase which columns of a tile meet a pixel through it.
    """

    phase: Phase
    run: Run
    met: Met

    @property
    def pixels(self) -> int:
        """Of a row of the source that a tile spans."""
        return self.phase.pull * (self.run.size - 1) + len(self.phase.taps)


def is_wide(axis: Axis) -> bool:
    """Whether the window is too wide for its taps to be written out."""
    return axis.window > UNROLLED * axis.stride


def shape_along(axis: Axis, accumulators: int, rows: int) -> tuple[int, int]:
    """The best (rows, columns) of a tile. With strides neighbours share no vectors, and results
    between taps meet none."""
    phase = max(axis.phases(), key=lambda phase: (phase.count, len(phase.taps)))
    taps = len(phase.taps) if phase.pull == 1 else 1
    return best_shape(accumulators, rows, phase.count, max(1, taps))


def columns_of(axis: Axis, most: int) -> Iterator[Columns]:
    """All tiles along a row, of at most so many columns; neighbours of one size that meet the same
    taps are in one run. Of a wide window each column is a tile, and its taps are not told."""
    if is_wide(axis):
        phase = Phase(0, 1, axis.results, 1, ())
        yield Columns(phase, Run(0, 1, phase.count), ((True,),))
        return
    for phase in axis.phases():
        tiles = (
            (run.begin + i * run.size, run.size)
            for run in pieces(phase.count, most)
            for i in range(run.count)
        )
        for (size, met), alike in groupby(tiles, partial(_kind, axis, phase)):
            begins = [begin for begin, _ in alike]
            yield Columns(phase, Run(begins[0], size, len(begins)), met)


def _kind(axis: Axis, phase: Phase, tile: tuple[int, int]) -> tuple[int, Met]:
    """What tiles have in common that can be in one run: their size, and the taps they meet."""
    begin, size = tile
    met = tuple(
        tuple(0 <= base + phase.pull * q < axis.sources for q in range(begin, begin + size))
        for _, base in phase.taps
    )
    return size, met
