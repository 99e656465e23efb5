"""What takes room in our own drawing, and the nets that connect it.

A net is the edges of one kind from a box. Where one spans rows it holds a place in each of them,
its spine, which all its edges share as long as they can, in the band of the box it comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from ir.drawing import Drawing, NetKey
from ir.drawing.rows import in_gap, out_gap

MOST_SPINES = 20_000
"""Places that spines may take in all; beyond, the longest go straight through the rows."""

END_WEIGHT, SPINE_WEIGHT = 0.05, 0.001
"""How much the end of a chain and a spine count where they and a box amid one want a place."""

SIDE_PORT = 0.36
"""Where transfers leave a box, in widths from its middle; data leaves in the middle."""


@dataclass(eq=False)
class Place:
    """What takes room in a row of a band: a box, or a piece of a spine, which has no width.

    `x` is its centre. `lean` is -1, 0 or 1: on which side of the boxes a spine runs; `shift` how
    far off the middle of its own box.
    """

    row: int
    width: float
    band: int
    weight: float = 1.0
    lean: int = 0
    shift: float = 0.0
    x: float = 0.0
    near: list["Place"] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2


@dataclass
class Net:
    """Edges of one kind from the box at `home`, into a gap, `shift` off the middle of the box.

    `first` and `last` are the outermost gaps it reaches; `lean` is positive if more of its edges
    lead to bands on the right than on the left, and negative the other way round.
    """

    home: Place
    gap: int
    first: int
    last: int
    lean: int = 0
    shift: float = 0.0
    spine: dict[int, Place] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """The rows it passes."""
        return self.last - self.first

    def entry(self, gap: int) -> Place:
        """What brings it into a gap; where it has no spine, as if straight from home."""
        row = gap - 1 if gap > self.gap else gap
        return self.home if gap == self.gap else self.spine.get(row, self.home)

    def x(self, gap: int) -> float:
        """Where it comes into a gap."""
        entry = self.entry(gap)
        return entry.x + self.shift if entry is self.home else entry.x

    def grow(self) -> None:
        """Take a place in every row it passes."""
        lean = _sign(self.lean)
        for row in range(self.first, self.last):
            self.spine[row] = Place(row, 0.0, self.home.band, SPINE_WEIGHT, lean, self.shift)
        for row, piece in self.spine.items():
            _join(piece, self.entry(row if row >= self.gap else row + 1))


Nets = dict[NetKey, Net]


def nets_of(drawing: Drawing, places: Sequence[Place]) -> Nets:
    """The nets of a drawing, given its boxes' places; makes neighbours of what they connect."""
    nets: Nets = {}
    for edge in drawing.edges:
        source, target = places[edge.source], places[edge.target]
        out = out_gap(drawing.boxes[edge.source], source.row)
        into = in_gap(drawing.boxes[edge.target], target.row)
        net = nets.setdefault(edge.net, Net(source, out, out, out))
        net.first, net.last = min(net.first, into), max(net.last, into)
        net.lean += _sign(target.band - source.band)
    for (_, is_transfer), net in nets.items():
        net.shift = _sign(net.lean) * SIDE_PORT * net.home.width if is_transfer else 0.0
    _grow_spines(nets)
    for edge in drawing.edges:
        target = places[edge.target]
        into = in_gap(drawing.boxes[edge.target], target.row)
        _join(target, nets[edge.net].entry(into))
    for place in places:
        place.weight = 1.0 if _is_amid(place) else END_WEIGHT
    return nets


def _grow_spines(nets: Nets) -> None:
    """The shortest nets get one, as many as there are places for."""
    shortest = sorted(nets.values(), key=lambda net: net.length)
    spent = accumulate(net.length for net in shortest)
    for net, total in zip(shortest, spent, strict=True):
        if total <= MOST_SPINES:
            net.grow()


def _is_amid(place: Place) -> bool:
    """Whether it has neighbours above and below in its band."""
    rows = [near.row - place.row for near in place.near if near.band == place.band]
    return min(rows, default=0) < 0 < max(rows, default=0)


def _join(one: Place, other: Place) -> None:
    one.near.append(other)
    other.near.append(one)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
