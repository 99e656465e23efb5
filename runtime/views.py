"""The crops through which a network looks at an image: the middle one, or the paper's ten."""

from dataclasses import dataclass

COUNTS = (1, 10)


@dataclass(frozen=True)
class View:
    """A crop by the row and column where it begins, mirrored or not."""

    row: int
    column: int
    mirrored: bool = False


def views(count: int, places: int) -> tuple[View, ...]:
    """One view or ten, of a crop that has `places` places along each axis.

    Ten are the two upper corners, the middle, the two lower corners, then the same mirrored: the
    order of the 2012 program. Raises ValueError for another count.
    """
    if count not in COUNTS:
        raise ValueError(f"{count} views, expected 1 or 10")
    last = places - 1
    middle = View(last // 2, last // 2)
    if count == 1:
        return (middle,)
    upper, lower = ((View(row, 0), View(row, last)) for row in (0, last))
    plain = (*upper, middle, *lower)
    return plain + tuple(View(view.row, view.column, mirrored=True) for view in plain)
