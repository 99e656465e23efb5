"""Our own drawing with every coordinate decided: heights, rectangles, the paths of the edges."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ir.drawing import Box, Drawing, Edge, NetKey
from ir.drawing.columns import LEADING, PADDING, Columns, columns_of
from ir.drawing.routes import Tracks, Way, tracks_of, ways_of
from ir.drawing.rows import is_forward

CLEAR, TRACK = 16.0, 8.0
"""From a row to the first track, where labels stand; between tracks."""

CORNER, SWING = 6.0, 16.0
"""The radius of turns: of data, of transfers."""

SHORT = 70.0
"""The least length of a level stretch that can carry a label."""

Point = tuple[float, float]
Points = list[Point]


@dataclass(frozen=True)
class Rect:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Label:
    """Where the bytes of an edge stand: on its line, centred, or else beside it."""

    x: float
    y: float
    on_line: bool


@dataclass(frozen=True)
class Route:
    """The way of an edge as SVG path data; its label, unless another edge's says the same."""

    path: str
    label: Label | None


@dataclass(frozen=True)
class Page:
    """Where everything is: boxes and edges as in the drawing, each lane's sides, the end."""

    rects: list[Rect]
    routes: list[Route]
    frames: list[tuple[float, float]]
    bottom: float


def page_of(drawing: Drawing, top: float) -> Page:
    """Arrange a drawing below `top`."""
    columns = columns_of(drawing)
    ways = ways_of(drawing, columns)
    heights = _Heights(drawing, columns, tracks_of(drawing, ways), top)
    rects = [heights.rect(place) for place in range(len(drawing.boxes))]
    lines = []
    for edge, way in zip(drawing.edges, ways, strict=True):
        begin = _port(drawing.boxes[edge.source], rects[edge.source], way.begin, leaving=True)
        end = _port(drawing.boxes[edge.target], rects[edge.target], way.end, leaving=False)
        lines.append([begin, *heights.corners(edge, way), end])
    radii = (SWING if edge.transfer else CORNER for edge in drawing.edges)
    paths = [_rounded(line, radius) for line, radius in zip(lines, radii, strict=True)]
    routes = list(map(Route, paths, _labels(drawing, lines)))
    return Page(rects, routes, columns.frames, heights.bottom)


def box_height(box: Box) -> float:
    """The height that the lines of a box take."""
    return len(box.lines) * LEADING + PADDING


def _port(box: Box, rect: Rect, x: float, leaving: bool) -> Point:
    at_bottom = is_forward(box) is leaving
    return x, rect.y + rect.height if at_bottom else rect.y


# ---------------------------------------------------------------------------- heights


class _Heights:
    """The y of every row and gap; a gap is as high as its tracks and curves need."""

    def __init__(self, drawing: Drawing, columns: Columns, tracks: Tracks, top: float) -> None:
        self._drawing, self._columns, self._tracks = drawing, columns, tracks
        count = max((place.row for place in columns.places), default=-1) + 1
        self._rows = [0.0] * count
        for box, place in zip(drawing.boxes, columns.places, strict=True):
            self._rows[place.row] = max(self._rows[place.row], box_height(box))
        self._gaps = self._gap_heights()
        self._gap_top, self._row_top = [top], [top + self._gaps[0]]
        for row, gap in zip(self._rows, self._gaps[1:], strict=True):
            self._gap_top.append(self._row_top[-1] + row)
            self._row_top.append(self._gap_top[-1] + gap)
        self.bottom = self._row_top[-1]

    def _gap_heights(self) -> list[float]:
        gaps = [2 * CLEAR] * (len(self._rows) + 1)
        for (gap, _), track in self._tracks.items():
            gaps[gap] = max(gaps[gap], 2 * CLEAR + track * TRACK)
        return gaps

    def rect(self, number: int) -> Rect:
        """Where a box stands: in the middle of its row."""
        box, place = self._drawing.boxes[number], self._columns.places[number]
        height = box_height(box)
        y = self._row_top[place.row] + (self._rows[place.row] - height) / 2
        return Rect(place.left, y, place.width, height)

    def corners(self, edge: Edge, way: Way) -> Iterator[Point]:
        """Where the edge turns, on its tracks."""
        for turn in way.turns:
            y = self._gap_top[turn.gap] + CLEAR + TRACK * self._tracks[turn.gap, edge.net]
            yield turn.enter, y
            yield turn.leave, y


# ---------------------------------------------------------------------------- ways


def _rounded(corners: Points, radius: float) -> str:
    words = ["M" + _at(corners[0])]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        into, out = _towards(corner, before, radius), _towards(corner, after, radius)
        words.append(f"L{_at(into)}Q{_at(corner)} {_at(out)}")
    return "".join([*words, "L" + _at(corners[-1])])


def _towards(corner: Point, other: Point, radius: float) -> Point:
    """A little way from the corner to its neighbour; no further than half way."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    part = min(radius / length, 0.5) if length else 0.0
    return corner[0] + dx * part, corner[1] + dy * part


def _at(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


# ---------------------------------------------------------------------------- labels


def _labels(drawing: Drawing, lines: list[Points]) -> list[Label | None]:
    """The label of each edge; where a box sends as much to all, its first edge speaks for them."""
    sizes: dict[NetKey, set[int]] = defaultdict(set)
    for edge in drawing.edges:
        sizes[edge.net].add(edge.bytes)
    spoken: set[NetKey] = set()
    labels: list[Label | None] = []
    for edge, line in zip(drawing.edges, lines, strict=True):
        if edge.transfer:
            labels.append(_on_line(line, 0.3))
        elif len(sizes[edge.net]) > 1:
            labels.append(_on_line(line))
        else:
            labels.append(None if edge.net in spoken else _beside(line[0], line[1]))
        spoken.add(edge.net)
    return labels


def _on_line(line: Points, part: float = 0.0) -> Label:
    """On the longest level stretch, some part along; beside the end if there is none."""
    (x, y), (end, _) = max(pairwise(line), key=lambda pair: abs(pair[0][0] - pair[1][0]))
    length = abs(end - x)
    if length < SHORT:
        return _beside(line[-1], line[-2])
    return Label(x + (end - x) * max(part, SHORT / 2 / length), y, on_line=True)


def _beside(point: Point, other: Point) -> Label:
    """Right of an upright line, close to its end `point`."""
    return Label(point[0] + 4.0, point[1] + (10.5 if other[1] > point[1] else -4.5), on_line=False)
