"""Lanes for rows: sixteen vectors become the sixteen that hold one lane of each."""

from collections.abc import Sequence

from tvm import tirx

from codegen.kernels.cpu.writer import LANES, Writer
from codegen.loops import Expr


def transposed(w: Writer, vectors: Sequence[Expr]) -> list[Expr]:
    """The columns of a matrix, given its rows of 16 floats; four rounds of exchanges."""
    rows = [w.let(each, f"float32x{LANES}") for each in vectors]
    distance = 1
    while distance < LANES:
        for i in (i for i in range(LANES) if not i & distance):
            pair = rows[i], rows[i + distance]
            rows[i], rows[i + distance] = (_exchanged(w, pair, distance, by) for by in (0, 1))
        distance *= 2
    return rows


def _exchanged(w: Writer, pair: Sequence[Expr], distance: int, by: int) -> Expr:
    """Of each two places so far apart one is the first's, the next the second's."""
    places = [
        (i | distance if by else i & ~distance) + (LANES if i & distance else 0)
        for i in range(LANES)
    ]
    return w.let(tirx.Shuffle(list(pair), places), f"float32x{LANES}")
