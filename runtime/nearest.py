"""The rows of a large table that are nearest to a few, found in one pass over it."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def nearest(rows: Floats, table: Iterable[Floats], count: int) -> tuple[Indices, Floats]:
    """For rows [n,f]: the places [n,count] of the nearest rows of a table, and their distances.

    The table comes in pieces [m,f]; only the best so far are kept. The nearest come first, of
    equally near ones those that come first. Fewer than `count` where the table is smaller.
    """
    places: Indices = np.empty((len(rows), 0), np.int64)
    squares: Floats = np.empty((len(rows), 0))
    first = 0
    for piece in table:
        fresh = np.arange(first, first + len(piece))
        first += len(piece)
        places = np.hstack([places, np.broadcast_to(fresh, (len(rows), len(piece)))])
        squares = np.hstack([squares, _squares(rows, piece)])
        best = np.argsort(squares, axis=1, kind="stable")[:, :count]
        places = np.take_along_axis(places, best, axis=1)
        squares = np.take_along_axis(squares, best, axis=1)
    return places, np.sqrt(squares)


def _squares(rows: Floats, piece: Floats) -> Floats:
    """Squared Euclidean distances [n,m]."""
    norms = (rows**2).sum(axis=1)[:, None] + (piece**2).sum(axis=1)
    return np.asarray(np.maximum(norms - 2 * rows @ piece.T, 0))
