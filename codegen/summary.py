"""The few numbers that a build prints, and a prediction of the time of a step."""

from collections.abc import Iterator

from codegen.assemble import Assembled
from ir.plan import Move, Plan, Run
from ir.plan.prediction import Prediction, Timeline

WIDTH = 48
"""Characters of a timeline."""
MARKS = {True: "#", False: "-"}
"""Of kernels and transfers."""
CHOSEN = ("conv", "dense")
"""How the names of kernels begin that have sizes to choose."""


def summary(assembled: Assembled, cores: int) -> Iterator[str]:
    """A line for each fact. Steps, transfers and time are those of the first program."""
    plan, name = assembled.plan, next(iter(assembled.programs))
    program = plan.programs[name]
    calls = sum(isinstance(s, Run) for p in plan.programs.values() for s in p.steps)
    moves = [step.bytes for step in program.steps if isinstance(step, Move)]
    yield _line("devices", ", ".join(plan.binding))
    target = [value for key, value in plan.target.items() if key != "vectors"]
    yield _line("target", ", ".join(target))
    yield _line("precision", plan.precision)
    yield _line("programs", ", ".join(plan.programs))
    yield _line("nodes", f"{len(assembled.programs[name].nodes)}, {len(program.steps)} steps")
    yield _line("kernels", f"{len(plan.kernels)} for {calls} calls, {assembled.cached} from cache")
    yield from _sizes(plan)
    for number, device in enumerate(plan.devices):
        bound = f"lower bound {_mb(device.lower_bound)}"
        yield _line(f"arena dev{number}", f"{_mb(device.arena)} ({bound})")
    yield _line("scratch", _scratch(plan))
    yield _line("transfers", f"{len(moves)}, {_mb(sum(moves))} per step")
    yield from _predicted(plan, name, cores)


def _sizes(plan: Plan) -> Iterator[str]:
    """How many kernels have sizes that were measured on such a machine."""
    kernels = [kernel for name, kernel in plan.kernels.items() if name.startswith(CHOSEN)]
    if kernels:
        measured = sum(kernel.measured for kernel in kernels)
        yield _line("tuning", f"{measured} of {len(kernels)} measured, the others by formula")


# ------------------------------------------------------------------------------- time


def _predicted(plan: Plan, name: str, cores: int) -> Iterator[str]:
    """The time of a program, and what each device does in it."""
    prediction = Prediction(plan, plan.binding, cores)
    timeline = prediction.timeline(plan.programs[name])
    speeds = plan.predicted
    units = cores if plan.target["kind"] == "cpu" else len(prediction.devices)
    on = f"{units} {speeds.unit}{'s' if units > 1 else ''}"
    total = f"{timeline.seconds * 1e3:,.1f} ms per step on {on} ({name})"
    yield _line("predicted", f"{total}; speeds: {speeds.origin}")
    for device in prediction.devices:
        idle = 1 - timeline.busy(device) / (timeline.seconds or 1)
        yield _line(f"  {device}", f"{drawn(timeline, device)} {idle:.1%} idle")


def drawn(timeline: Timeline, device: str) -> str:
    """A device's part of a timeline: # where it mostly computes, - transfers, . does nothing."""
    step = timeline.seconds / WIDTH
    parts = [
        (slot.start, slot.end, MARKS[isinstance(slot.step, Run)])
        for slot in timeline.slots
        if device in slot.devices
    ]
    return "".join(_mark(parts, place * step, (place + 1) * step) for place in range(WIDTH))


def _mark(parts: list[tuple[float, float, str]], begin: float, end: float) -> str:
    """What takes most of an interval."""
    spent = dict.fromkeys(MARKS.values(), 0.0)
    for first, last, mark in parts:
        spent[mark] += max(0.0, min(last, end) - max(first, begin))
    spent["."] = end - begin - sum(spent.values())
    return max(spent, key=lambda mark: spent[mark])


# ------------------------------------------------------------------------------- memory


def _scratch(plan: Plan) -> str:
    """All kernels of a device share the scratch of the one that needs most."""
    one, two = plan.scratch(1), plan.scratch(2)
    more = f", {_mb(two - one)} for each thread more" if two > one else ""
    return f"{_mb(one)} for each device{more}"


def _line(label: str, value: str) -> str:
    return f"{label:12} {value}"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count >= 10_000 else f"{count:,} B"
