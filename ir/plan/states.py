"""The laws of states: what each is at the start, and how the pieces of a logical tensor fit."""

from collections import defaultdict
from itertools import combinations
from math import isfinite, prod

from ir.plan.bounds import Complaints, at_least
from ir.plan.records import Plan, State


def complaints(plan: Plan) -> Complaints:
    """Values that no state begins with; pieces outside the whole, or that do not make it."""
    yield from _states(plan)
    yield from _pieces(plan)


def _states(plan: Plan) -> Complaints:
    for number, state in enumerate(plan.states):
        path = f"$.states[{number}]"
        yield from _initial(path, state)
        rank = len(state.tensor.layout.shape)
        if not len(state.whole) == len(state.start) == rank:
            yield f"{path}.start: expected {rank} axes in start and whole, as in shape"
            return
        for axis, extent in enumerate(state.tensor.layout.shape):
            most = state.whole[axis] - extent
            yield from at_least(f"{path}.start[{axis}]", state.start[axis], 0, most)


def _initial(path: str, state: State) -> Complaints:
    if not state.logical:
        yield f"{path}.logical: empty, expected the name in checkpoints"
    if not isfinite(state.value):
        yield f"{path}.value: got {state.value}, expected a finite number"
    if not 0 <= state.std < float("inf"):
        yield f"{path}.std: got {state.std}, expected a finite number of at least 0"
    if not isfinite(state.rate) or (state.kind == "state" and state.rate != 1):
        yield f"{path}.rate: got {state.rate}, expected a finite number, 1 unless a parameter's"
    if state.std and state.tensor.dtype != "f32":
        yield f"{path}.std: got {state.std}, expected 0 for {state.tensor.dtype}"


def _pieces(plan: Plan) -> Complaints:
    """The pieces of a logical tensor agree and cover it once; copies lie on different devices."""
    groups: dict[str, list[tuple[str, State]]] = defaultdict(list)
    for number, state in enumerate(plan.states):
        groups[state.logical].append((f"$.states[{number}]", state))
    for logical, group in groups.items():
        _, first = group[0]
        for path, state in group[1:]:
            if _kind(state) != _kind(first):
                yield f"{path}: expected the kind, type, whole and start values of '{logical}'"
        boxes = {(state.start, state.tensor.layout.shape) for _, state in group}
        if any(_meet(a, b) for a, b in combinations(sorted(boxes), 2)):
            yield f"{group[-1][0]}.start: pieces of '{logical}' overlap, expected them side by side"
        if sum(prod(shape) for _, shape in boxes) != prod(first.whole):
            yield f"{group[-1][0]}.whole: pieces of '{logical}' do not make {list(first.whole)}"


def _kind(state: State) -> tuple[object, ...]:
    return state.kind, state.whole, state.value, state.std, state.rate, state.tensor.dtype


Box = tuple[tuple[int, ...], tuple[int, ...]]


def _meet(one: Box, other: Box) -> bool:
    """Whether two boxes (start, shape) have an element in common."""
    axes = zip(*one, *other, strict=True)
    return all(a < b + shape_b and b < a + shape_a for a, shape_a, b, shape_b in axes)
