"""On many threads, kernels that matter have enough tasks for all of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from typing import Any

import pytest
from tvm import tirx

from benchmarks.work import moved
from codegen.cost.control import Unknown, Values, control
from codegen.cost.count import work
from codegen.cost.speeds import GUESSES
from codegen.kernels import build
from codegen.programs import lower
from codegen.steps import Call, steps
from frontend.alexnet import alexnet
from ir.graph import Graph
from ir.plan.prediction import instructions, seconds
from passes.context import Context
from passes.dump import quiet
from tests.kernels import host

MANY = "icelake-server"
"""A processor that comes with as many cores, whatever the tests run on."""
THREADS = 32
ENOUGH = 2 * THREADS
MATTERS = 0.01
"""Of a step's time, of all cores together."""
SPEEDS = GUESSES["cpu"]


@dataclass(frozen=True)
class Phase:
    """A parallel loop of a kernel: the tasks each time that it runs, and seconds on one core."""

    kernel: str
    tasks: list[int]
    seconds: float


@pytest.mark.full
@pytest.mark.parametrize("devices", [1, 2])
def test_what_takes_a_hundredth_of_a_step_has_many_tasks(devices: int) -> None:
    found = [each for region, calls in regions(devices) for each in phases(region, calls)]
    step = sum(each.seconds for each in found)
    matter = [each for each in found if each.seconds > MATTERS * step]
    assert len(matter) > 10
    few = [each for each in matter if mean(each.tasks) < ENOUGH]
    assert not few, "\n".join(
        f"{each.seconds / step:.1%} in {mean(each.tasks):.0f} tasks: {each.kernel}" for each in few
    )


def regions(devices: int) -> list[tuple[Graph, int]]:
    """Of a training step of 128 images, and how often each is called."""
    context, layout = Context(devices, say=lambda line: None), host(MANY).layout
    train = lower(alexnet(128), context, layout, lambda name: quiet).programs["train"]
    calls = (step for step in steps(train, layout) if isinstance(step, Call))
    return list(Counter(call.region.graph for call in calls).items())


def phases(region: Graph, calls: int) -> list[Phase]:
    """Those of all calls of a kernel; what it waits for memory is shared out by their work."""
    function: Any = build(region, host(MANY)).function
    spent = seconds(work(function), moved(region), SPEEDS)
    nodes = [node for node in region.nodes if node.inputs]
    shapes = [str(leaf.type) for leaf in nodes[0].inputs]
    name = " ".join(["+".join(node.op for node in nodes), *shapes])
    tasks: dict[Any, list[int]] = {}
    for loop, count in _runs(function.body, {str(function.params[0].name): THREADS}):
        tasks.setdefault(loop, []).append(count)
    alone = {loop: instructions(work(_only(function, loop)), SPEEDS) for loop in tasks}
    total = sum(alone.values())
    return [Phase(name, tasks[at], calls * spent * alone[at] / total) for at in tasks]


def _runs(statement: Any, values: Values) -> Iterator[tuple[Any, int]]:
    """Each time that a parallel loop runs, in order, and the tasks of all threads then."""
    known = dict(values)
    for each in statement.seq if isinstance(statement, tirx.SeqStmt) else [statement]:
        if isinstance(each, tirx.Bind | tirx.BufferStore):
            target = each.var if isinstance(each, tirx.Bind) else each.buffer
            known |= {str(target.name): value for value in _value(each.value, known)}
        elif isinstance(each, tirx.For) and each.kind == tirx.ForKind.PARALLEL:
            yield each, _tasks(each, known)
        elif isinstance(each, tirx.For):
            for extent in _value(each.extent, known):
                for i in range(extent):
                    yield from _runs(each.body, known | {str(each.loop_var.name): i})
        elif isinstance(each, tirx.IfThenElse):
            if any(_value(each.condition, known)):
                yield from _runs(each.then_case, known)
        elif isinstance(each, tirx.AttrStmt):
            yield from _runs(each.body, known)


def _tasks(loop: Any, values: Values) -> int:
    """Those of each thread are the extent of the loop over tasks, which is the first inside."""
    return sum(_extent(loop, {**values, str(loop.loop_var.name): t}) for t in range(THREADS))


def _extent(loop: Any, values: Values) -> int:
    known = dict(values)
    for each in loop.body.seq:
        if isinstance(each, tirx.Bind):
            known |= {str(each.var.name): value for value in _value(each.value, known)}
        elif isinstance(each, tirx.For):
            (extent,) = _value(each.extent, known)
            return extent
    raise AssertionError("a parallel loop without tasks")


def _value(expr: Any, values: Values) -> list[int]:
    """What an integer expression is; nothing where only the kernel knows."""
    try:
        return [control(expr).value(values)]
    except (Unknown, KeyError):
        return []


def _only(function: Any, loop: Any) -> Any:
    """The kernel without its other parallel loops."""
    return tirx.PrimFunc(function.params, _kept(function.body, loop))


def _kept(each: Any, loop: Any) -> Any:
    if isinstance(each, tirx.SeqStmt):
        return tirx.SeqStmt([_kept(inner, loop) for inner in each.seq])
    if isinstance(each, tirx.AttrStmt):
        return tirx.AttrStmt(each.node, each.attr_key, each.value, _kept(each.body, loop))
    if isinstance(each, tirx.IfThenElse):
        return tirx.IfThenElse(each.condition, _kept(each.then_case, loop), None)
    if not isinstance(each, tirx.For) or each.same_as(loop):
        return each
    if each.kind == tirx.ForKind.PARALLEL:
        return tirx.Evaluate(tirx.const(0, "int32"))
    return tirx.For(each.loop_var, each.min, each.extent, each.kind, _kept(each.body, loop))
