"""The ways of the edges in our own drawing: where they turn.

An edge runs straight down or up, or turns in a gap between rows, on a track of its own; edges of
one net share theirs.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat

from ir.drawing import Drawing, NetKey
from ir.drawing.columns import Columns, ascending
from ir.drawing.nets import Net, Place
from ir.drawing.rows import in_gap

PORT = 11.0
"""Between two arrows into one box, and between two turns on one track."""

STRAIGHT = 0.5
"""What moves across by no more counts as straight."""


@dataclass(frozen=True)
class Turn:
    """An edge's way through a gap where it does not go straight: from `enter` to `leave`."""

    gap: int
    enter: float
    leave: float


@dataclass(frozen=True)
class Way:
    """Where an edge leaves its source and enters its target, and its turns between them."""

    begin: float
    turns: list[Turn]
    end: float


Tracks = dict[tuple[int, NetKey], int]
"""(gap, net) to the number of the track it turns on."""


# ---------------------------------------------------------------------------- ways


def ways_of(drawing: Drawing, columns: Columns) -> list[Way]:
    """The ways of the edges in their order."""
    ends = [
        in_gap(box, place.row) for box, place in zip(drawing.boxes, columns.places, strict=True)
    ]
    ports = _ports(drawing, columns, ends)
    return [
        _way(columns.nets[edge.net], ends[edge.target], ports[edge.source, edge.target])
        for edge in drawing.edges
    ]


def _way(net: Net, end: int, port: float) -> Way:
    step = 1 if end >= net.gap else -1
    # Without a spine nothing turns before the end.
    gaps = range(net.gap if net.spine else end, end + step, step)
    xs = [*map(net.x, gaps), port]
    turns = [
        Turn(gap, enter, leave)
        for gap, (enter, leave) in zip(gaps, pairwise(xs), strict=True)
        if abs(enter - leave) > STRAIGHT
    ]
    return Way(xs[0], turns, port)


def _ports(drawing: Drawing, columns: Columns, ends: list[int]) -> dict[tuple[int, int], float]:
    """Where each (source, target) enters its target: straight on where there is room for it."""
    arriving: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for edge in drawing.edges:
        x = columns.nets[edge.net].x(ends[edge.target])
        arriving[edge.target].append((x, edge.source))
    ports = {}
    for target, entries in arriving.items():
        entries.sort()
        xs = _fit([x for x, _ in entries], columns.places[target])
        ports.update({(s, target): x for (_, s), x in zip(entries, xs, strict=True)})
    return ports


def _fit(wanted: list[float], box: Place) -> list[float]:
    """Ascending x inside the box, apart from each other, as near as can be to those wanted."""
    room = box.width - 2 * PORT
    apart = min(PORT, room / max(1, len(wanted) - 1))
    low, high = box.left + PORT, box.right - PORT - apart * (len(wanted) - 1)
    offsets = list(accumulate(repeat(apart, len(wanted) - 1), initial=0.0))
    aims = [
        min(max(x, box.left + PORT), box.right - PORT) - offset
        for x, offset in zip(wanted, offsets, strict=True)
    ]
    found = ascending(aims, [1.0] * len(aims))
    return [min(max(x, low), high) + offset for x, offset in zip(found, offsets, strict=True)]


# ---------------------------------------------------------------------------- tracks


def tracks_of(drawing: Drawing, ways: list[Way]) -> Tracks:
    """A track for each net that turns in a gap; what shares one does not touch."""
    spans: dict[int, dict[NetKey, tuple[float, float]]] = defaultdict(dict)
    for edge, way in zip(drawing.edges, ways, strict=True):
        for turn in way.turns:
            xs = (turn.enter, turn.leave, *spans[turn.gap].get(edge.net, ()))
            spans[turn.gap][edge.net] = min(xs), max(xs)
    return {(gap, net): t for gap, nets in spans.items() for net, t in _pack(nets).items()}


def _pack(nets: dict[NetKey, tuple[float, float]]) -> dict[NetKey, int]:
    """Left to right, each on the first track that is free again."""
    ends: list[float] = []
    tracks = {}
    for net, (left, right) in sorted(nets.items(), key=lambda item: (item[1], item[0])):
        track = next((t for t, end in enumerate(ends) if end + PORT < left), len(ends))
        ends[track : track + 1] = [right]
        tracks[net] = track
    return tracks
