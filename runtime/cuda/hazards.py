"""What must wait for what, when operations of one order are spread over several streams.

Two operations that touch the same bytes keep their order if one of them writes. Within a stream
they do so anyway; between streams one waits for the other. Waits that follow from others are left
out, by vector clocks: how much of every other stream an operation knows to be done.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Bytes [begin, end) of a memory."""

    memory: Hashable
    begin: int
    end: int

    def meets(self, other: "Span") -> bool:
        """Whether two spans of one memory have a byte in common."""
        return self.begin < other.end and other.begin < self.end

    def covers(self, other: "Span") -> bool:
        """Whether it has all bytes of another span of its memory."""
        return self.begin <= other.begin and other.end <= self.end


@dataclass(frozen=True)
class Operation:
    """Something that a stream does."""

    stream: Hashable
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]


def waits(operations: Sequence[Operation]) -> list[tuple[int, ...]]:
    """For each operation the earlier ones that its stream must wait for, by their places."""
    clocks: dict[Hashable, Clock] = defaultdict(dict)
    done: list[Clock] = []
    found = []
    for place, (operation, before) in enumerate(
        zip(operations, conflicts(operations), strict=True)
    ):
        clock = clocks[operation.stream]
        needed = []
        for other in sorted(before, reverse=True):
            stream = operations[other].stream
            if clock.get(stream, -1) < other:
                needed.append(other)
                _advance(clock, done[other])
        clock[operation.stream] = place
        done.append(dict(clock))
        found.append(tuple(needed))
    return found


def conflicts(operations: Sequence[Operation]) -> list[set[int]]:
    """For each operation earlier ones whose bytes it reads or writes, as far as one of both writes.

    Those are left out that an operation between the two conflicts with already.
    """
    touched: dict[Hashable, list[_Touch]] = defaultdict(list)
    found: list[set[int]] = []
    for place, operation in enumerate(operations):
        before: set[int] = set()
        for span in operation.reads:
            before |= {t.place for t in touched[span.memory] if t.written and span.meets(t.span)}
        for span in operation.writes:
            before |= {t.place for t in touched[span.memory] if span.meets(t.span)}
            touched[span.memory] = [t for t in touched[span.memory] if not span.covers(t.span)]
        for span in operation.reads:
            touched[span.memory].append(_Touch(place, span, False))
        for span in operation.writes:
            touched[span.memory].append(_Touch(place, span, True))
        found.append(before)
    return found


Clock = dict[Hashable, int]
"""For each stream the last operation known to be done, and with it all before in that stream."""


@dataclass(frozen=True)
class _Touch:
    """An operation's read or write."""

    place: int
    span: Span
    written: bool


def _advance(clock: Clock, other: Clock) -> None:
    for stream, place in other.items():
        clock[stream] = max(clock.get(stream, -1), place)
