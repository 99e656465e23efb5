"""The rows of our own drawing: who stands above whom.

Forward runs down the page. Backward and update climb beside it, each box as low as what it reads
allows, so that a gradient stands level with the layer it belongs to. Gap i lies above row i; a
forward box takes its operands from the gap above and leaves its results in the gap below, the
others the other way round.
"""

from collections.abc import Sequence

from ir.drawing import BESIDE, Box, Drawing, Edge
from ir.drawing.grouping import Role

Below = list[list[tuple[int, int]]]
"""For each box those that must stand lower, and by how many rows."""


def rows_of(drawing: Drawing) -> list[int]:
    """The row of each box: the longest way down from it, counted from the lowest row."""
    boxes, edges = drawing.boxes, drawing.edges
    below = _below(boxes, edges)
    forward = [place for place, box in enumerate(boxes) if is_forward(box)]
    others = [place for place, box in enumerate(boxes) if not is_forward(box)]
    height = [0] * len(boxes)
    for place in [*others, *reversed(forward)]:
        height[place] = max((height[low] + step for low, step in below[place]), default=0)
    highest = max(height, default=0)
    rows = [highest - own for own in height]
    for place, row in _highest(rows, boxes, edges).items():
        if not below[place]:
            rows[place] = row
    for alone in drawing.alone:
        for number, place in enumerate(alone):
            rows[place] = number // BESIDE
    return rows


def _below(boxes: Sequence[Box], edges: Sequence[Edge]) -> Below:
    """An edge against the order of the boxes, one of a cycle, says nothing."""
    below: Below = [[] for _ in boxes]
    for edge in edges:
        down = is_forward(boxes[edge.source]), is_forward(boxes[edge.target])
        if edge.source > edge.target or down == (False, True):
            continue
        if down == (False, False):
            below[edge.target].append((edge.source, 1))
        else:
            below[edge.source].append((edge.target, 1 if down == (True, True) else 0))
    return below


def _highest(rows: list[int], boxes: Sequence[Box], edges: Sequence[Edge]) -> dict[int, int]:
    """How high a box may stand for its neighbours; where nothing must stand lower, it does."""
    highest: dict[int, int] = {}
    for edge in edges:
        down = is_forward(boxes[edge.source]), is_forward(boxes[edge.target])
        upper, lower = (edge.target, edge.source) if not down[0] else (edge.source, edge.target)
        if edge.source < edge.target and down != (False, True):
            row = rows[upper] + (down != (True, False))
            highest[lower] = max(highest.get(lower, 0), row)
    return highest


def is_forward(box: Box) -> bool:
    """Whether the box runs down the page."""
    return box.role is Role.FORWARD


def out_gap(box: Box, row: int) -> int:
    """The gap that its results leave into."""
    return row + 1 if is_forward(box) else row


def in_gap(box: Box, row: int) -> int:
    """The gap that its operands come from."""
    return row if is_forward(box) else row + 1
