"""Streams keep the order of a plan: with the waits found, and with no fewer."""

from collections.abc import Sequence
from random import Random

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from runtime.cuda.hazards import Operation, Span, conflicts, waits
from tests.counts import cases

STREAMS, MEMORIES, LENGTH = 3, 2, 12

spans = st.builds(
    lambda memory, begin, size: Span(memory, begin, begin + size),
    st.integers(0, MEMORIES - 1),
    st.integers(0, LENGTH - 1),
    st.integers(1, 4),
)
operations = st.builds(
    Operation,
    st.integers(0, STREAMS - 1),
    st.lists(spans, max_size=2).map(tuple),
    st.lists(spans, max_size=2).map(tuple),
)
programs = st.lists(operations, max_size=16)
orders = st.randoms(use_true_random=False)


def run(made: Sequence[Operation], order: Sequence[int]) -> bytes:
    """What is in memory after some order; what is written depends on what was read."""
    lying: dict[object, npt.NDArray[np.uint64]] = {
        number: np.zeros(LENGTH + 4, np.uint64) for number in range(MEMORIES)
    }
    for place in order:
        seen = place + 1
        for span in made[place].reads:
            for value in lying[span.memory][span.begin : span.end]:
                seen = (seen * 31 + int(value)) % 1_000_003
        for number, span in enumerate(made[place].writes):
            lying[span.memory][span.begin : span.end] = seen + number
    return b"".join(array.tobytes() for array in lying.values())


def before(made: Sequence[Operation], needed: Sequence[Sequence[int]]) -> list[set[int]]:
    """For each operation all that must be done before, by streams and waits."""
    last: dict[object, int] = {}
    found: list[set[int]] = []
    for place, operation in enumerate(made):
        direct = {*needed[place]}
        if operation.stream in last:
            direct.add(last[operation.stream])
        found.append(direct.union(*(found[other] for other in direct)))
        last[operation.stream] = place
    return found


@cases(full=2000, sample=150)
@given(made=programs, random=orders)
def test_any_order_that_keeps_streams_and_waits_gives_the_same_memory(
    made: list[Operation], random: Random
) -> None:
    needs = before(made, waits(made))
    left, order = [*range(len(made))], list[int]()
    while left:
        place = random.choice([place for place in left if needs[place] <= {*order}])
        left.remove(place)
        order.append(place)
    assert run(made, order) == run(made, range(len(made)))


@cases(full=1000, sample=100)
@given(made=programs)
def test_no_wait_follows_from_the_others(made: list[Operation]) -> None:
    needed = waits(made)
    for place, others in enumerate(needed):
        for other in others:
            fewer = [*needed]
            fewer[place] = tuple(each for each in others if each != other)
            assert other not in before(made, fewer)[place]
            assert made[other].stream != made[place].stream


@cases(full=1000, sample=100)
@given(made=programs)
def test_operations_that_touch_the_same_bytes_are_in_order(made: list[Operation]) -> None:
    needs = before(made, waits(made))
    for place, one in enumerate(made):
        for other in range(place):
            writes = _meet(one.writes, made[other].reads + made[other].writes)
            if writes or _meet(one.reads, made[other].writes):
                assert other in needs[place]


@cases(full=500, sample=50)
@given(made=programs)
def test_what_shares_no_bytes_does_not_wait(made: list[Operation]) -> None:
    for place, found in enumerate(conflicts(made)):
        for other in found:
            both = made[place], made[other]
            assert any(_meet(a.writes, b.reads + b.writes) for a, b in (both, both[::-1]))


def _meet(ones: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(a.memory == b.memory and a.meets(b) for a in ones for b in others)
