"""The columns of our own drawing: what stands beside what.

Each role has a band within its device's lane. All lanes but the last are mirrored, so two towers
face each other across their transfers. Within a band, boxes stand as straight below each other as
they can.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ir.drawing import Box, Drawing, Line
from ir.drawing.grouping import Role
from ir.drawing.label import text_width
from ir.drawing.nets import Nets, Place, nets_of
from ir.drawing.rows import rows_of

FONT, LEADING, PADDING, NAME_GAP = 11.0, 15.0, 7.0, 6.0
"""Of the text in boxes: size, height of a line, space around, space behind a name."""

MARGIN, LANE_GAP, LANE_PADDING, BAND_GAP = 24.0, 70.0, 18.0, 26.0
BESIDE_BOX, BESIDE_SPINE = 20.0, 10.0
"""Space between neighbours in a row: two boxes, any others."""

SWEEPS = 8
LEAN = 1e6
"""Puts a spine at the side of its band where most of its edges lead."""


@dataclass
class Columns:
    """Every box's place, the nets of the edges, and each lane's left and right edge."""

    places: list[Place]
    nets: Nets
    frames: list[tuple[float, float]]


def columns_of(drawing: Drawing) -> Columns:
    """Give every box and every piece of a spine its row and its x."""
    rows = rows_of(drawing)
    boxes = [
        Place(*given) for given in zip(rows, _widths(drawing.boxes), _bands(drawing), strict=True)
    ]
    nets = nets_of(drawing, boxes)
    places = boxes + [piece for net in nets.values() for piece in net.spine.values()]
    _sweep(places)
    return Columns(boxes, nets, _set_apart(drawing, places))


def _bands(drawing: Drawing) -> list[int]:
    """The band of each box, counted across the whole page."""
    bands = [0] * len(drawing.boxes)
    for number, lane in enumerate(drawing.lanes):
        for place in lane.boxes:
            within = list(Role).index(drawing.boxes[place].role)
            is_mirrored = number < len(drawing.lanes) - 1
            bands[place] = 3 * number + (2 - within if is_mirrored else within)
    return bands


def _widths(boxes: Sequence[Box]) -> list[float]:
    """One width per role keeps columns straight; leaves are as narrow as they can be."""
    own = [max(map(line_width, box.lines)) + 2 * PADDING for box in boxes]
    common = dict.fromkeys(Role, 0.0)
    for box, width in zip(boxes, own, strict=True):
        common[box.role] = max(common[box.role], 0.0 if box.is_leaf else width)
    return [
        width if box.is_leaf else common[box.role] for box, width in zip(boxes, own, strict=True)
    ]


def line_width(line: Line) -> float:
    """The width of one line of a box."""
    name = text_width(line.name, FONT, bold=True) + NAME_GAP if line.name else 0.0
    return name + text_width(line.text, FONT)


# ---------------------------------------------------------------------------- order


def _sweep(places: list[Place]) -> None:
    """Up and down the rows: order each by where the row before has its neighbours, and move it."""
    groups: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for place in places:
        groups[place.row, place.band].append(place)
    order = sorted(groups)
    for number in range(SWEEPS):
        step = 1 if number % 2 else -1
        for key in order[::step]:
            groups[key] = _settle(groups[key], step)


def _settle(group: list[Place], step: int) -> list[Place]:
    wanted = {place: _wanted(place, step) for place in group}
    group = sorted(group, key=lambda place: wanted[place] + LEAN * place.lean)
    apart = (_apart(left, right) for left, right in pairwise(group))
    offsets = list(accumulate(apart, initial=0.0))
    aims = [wanted[place] - offset for place, offset in zip(group, offsets, strict=True)]
    found = ascending(aims, [place.weight for place in group])
    for place, offset, x in zip(group, offsets, found, strict=True):
        place.x = x + offset
    return group


def _wanted(place: Place, step: int) -> float:
    """The mean of its neighbours in the rows before, in the same band; boxes count most."""
    near = [n for n in place.near if n.band == place.band and (place.row - n.row) * step > 0]
    weight = sum(other.weight for other in near)
    if not near:
        return place.x
    shift = place.shift if near[0].width else 0.0
    return sum(other.x * other.weight for other in near) / weight + shift


def _apart(left: Place, right: Place) -> float:
    """How far the centres of two neighbours are apart at least."""
    gap = BESIDE_BOX if left.width and right.width else BESIDE_SPINE
    return (left.width + right.width) / 2 + gap


def ascending(aims: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The ascending numbers nearest to the aims in weighted squares: pool adjacent violators."""
    pools: list[tuple[float, float, int]] = []
    for aim, weight in zip(aims, weights, strict=True):
        value, mass, count = aim, weight, 1
        while pools and pools[-1][0] > value:
            before, heavier, more = pools.pop()
            value = (before * heavier + value * mass) / (heavier + mass)
            mass, count = mass + heavier, count + more
        pools.append((value, mass, count))
    return [value for value, _, count in pools for _ in range(count)]


# ---------------------------------------------------------------------------- bands


def _set_apart(drawing: Drawing, places: list[Place]) -> list[tuple[float, float]]:
    """Move the bands beside each other; return each lane's left and right edge."""
    bands: dict[int, list[Place]] = defaultdict(list)
    for place in places:
        bands[place.band].append(place)
    frames, left = [], MARGIN
    for number, lane in enumerate(drawing.lanes):
        right = left + LANE_PADDING
        for band in (bands[3 * number + within] for within in range(3)):
            right = _move(band, right) if band else right
        right += LANE_PADDING - BAND_GAP
        right = max(right, left + text_width(lane.title, FONT + 1, bold=True) + 2 * LANE_PADDING)
        frames.append((left, right))
        left = right + LANE_GAP
    return frames


def _move(band: list[Place], left: float) -> float:
    """Put a band's left edge there; return where the next one begins."""
    shift = left - min(place.left for place in band)
    for place in band:
        place.x += shift
    return max(place.right for place in band) + BAND_GAP
