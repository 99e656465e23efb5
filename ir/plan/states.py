"""The laws of states: what each is at the start, how the pieces of a logical tensor fit, and that
bf16 copies stay what they copy."""

from collections import defaultdict
from itertools import combinations
from math import isfinite, prod

from ir.plan.bounds import Complaints, at_least
from ir.plan.records import Plan, Run, State


def complaints(plan: Plan) -> Complaints:
    """Values that no state begins with; pieces outside the whole, or that do not make it; copies
    of nothing."""
    yield from _states(plan)
    yield from _pieces(plan)
    yield from _copies(plan)


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
    start = state.value, state.std, state.rate
    return state.kind, state.whole, start, state.tensor.dtype, state.copies


Box = tuple[tuple[int, ...], tuple[int, ...]]


def _meet(one: Box, other: Box) -> bool:
    """Whether two boxes (start, shape) have an element in common."""
    axes = zip(*one, *other, strict=True)
    return all(a < b + shape_b and b < a + shape_a for a, shape_a, b, shape_b in axes)


# -------------------------------------------------------------------------------- copies


def _copies(plan: Plan) -> Complaints:
    """A copy is bf16, and lies beside the same piece of the parameter that it names."""
    params = {_piece(state) for state in plan.states if state.kind == "param"}
    for number, state in enumerate(plan.states):
        path = f"$.states[{number}]"
        if state.copies and (state.kind, state.tensor.dtype) != ("state", "bf16"):
            found = f"{state.kind} of {state.tensor.dtype}"
            yield f"{path}.copies: got '{state.copies}' for a {found}, expected a state of bf16"
        elif state.copies and (state.copies, *_piece(state)[1:]) not in params:
            yield f"{path}.copies: no param '{state.copies}' lies there in the same piece"


def _piece(state: State) -> tuple[object, ...]:
    return (
        state.logical,
        state.tensor.device,
        state.whole,
        state.start,
        state.tensor.layout.shape,
    )


def stale(plan: Plan) -> Complaints:
    """A program that updates a parameter without its copy, or the copy alone."""
    copied = {(state.copies, *_piece(state)[1:]): state for state in plan.states if state.copies}
    for name in plan.programs:
        updated = _updated(plan, name)
        for param in plan.states:
            copy = copied.get(_piece(param))
            if copy is not None and (_place(param) in updated) != (_place(copy) in updated):
                yield (
                    f"$.programs.{name}.steps: update one of '{param.tensor.name}' and its copy "
                    f"'{copy.tensor.name}', expected both or none"
                )


def _updated(plan: Plan, name: str) -> set[tuple[int, int]]:
    """Devices and offsets that the steps of a program update."""
    runs = (step for step in plan.programs[name].steps if isinstance(step, Run))
    return {
        (run.device, offset)
        for run in runs
        for offset, argument in zip(run.offsets, plan.kernels[run.kernel].arguments, strict=True)
        if argument.access == "update"
    }


def _place(state: State) -> tuple[int, int]:
    return state.tensor.device, state.tensor.offset
