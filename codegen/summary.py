"""The few numbers that a build prints, and a prediction of the time of a step."""

from collections.abc import Iterator
from dataclasses import dataclass

from codegen.assemble import Assembled
from ir.plan import Cubins, Move, Plan, Program, Run


@dataclass(frozen=True)
class Speed:
    """What one unit computes and moves per second, and what a launch takes, in seconds.

    `link` is bytes per second from one logical device to another.
    """

    unit: str
    flops: float
    bytes: float
    link: float
    launch: float

    def __str__(self) -> str:
        return (
            f"{self.flops / 1e9:,.0f} GFLOP/s and {self.bytes / 1e9:,.0f} GB/s for each {self.unit}"
        )


SPEEDS = {
    "cpu": Speed("core", flops=80e9, bytes=10e9, link=5e9, launch=0),
    "cuda": Speed("H200-class GPU", flops=40e12, bytes=3e12, link=100e9, launch=3e-6),
}
"""Guesses, for predictions; those of GPUs are far from exact."""


def summary(assembled: Assembled, cores: int) -> Iterator[str]:
    """A line for each fact. Steps, transfers and time are those of the first program."""
    plan, name = assembled.plan, next(iter(assembled.programs))
    program = plan.programs[name]
    calls = sum(isinstance(s, Run) for p in plan.programs.values() for s in p.steps)
    moves = [step.bytes for step in program.steps if isinstance(step, Move)]
    yield _line("devices", ", ".join(plan.binding))
    yield _line("target", ", ".join(plan.target.values()))
    yield _line("programs", ", ".join(plan.programs))
    yield _line("nodes", f"{len(assembled.programs[name].nodes)}, {len(program.steps)} steps")
    yield _line("kernels", f"{len(plan.kernels)} for {calls} calls, {assembled.cached} from cache")
    for number, device in enumerate(plan.devices):
        bound = f"lower bound {_mb(device.lower_bound)}"
        yield _line(f"arena dev{number}", f"{_mb(device.arena)} ({bound})")
    yield _line("scratch", _scratch(plan))
    yield _line("transfers", f"{len(moves)}, {_mb(sum(moves))} per step")
    kind = _kind(plan)
    units = cores if kind == "cpu" else len(set(plan.binding))
    seconds = predicted(plan, program, units)
    on = f"{units} {SPEEDS[kind].unit}{'s' if units > 1 else ''}"
    yield _line("predicted", f"{seconds * 1e3:,.1f} ms per step on {on} ({name})")


def predicted(plan: Plan, program: Program, units: int) -> float:
    """Seconds: each kernel takes as long as its arithmetic or its memory traffic, what is more.

    A guess from fixed speeds, not a measurement; all logical devices share the units.
    """
    speed, seconds = SPEEDS[_kind(plan)], 0.0
    for step in program.steps:
        if isinstance(step, Run):
            kernel = plan.kernels[step.kernel]
            launches = len(kernel.code.launches) if isinstance(kernel.code, Cubins) else 1
            work = max(kernel.flops / speed.flops, kernel.moved / speed.bytes)
            seconds += (work + launches * speed.launch) / units
        else:
            seconds += step.bytes / speed.link
    return seconds


def _scratch(plan: Plan) -> str:
    """All kernels of a device share the scratch of the one that needs most."""
    one, two = plan.scratch(1), plan.scratch(2)
    more = f", {_mb(two - one)} for each thread more" if two > one else ""
    return f"{_mb(one)} for each device{more}"


def _kind(plan: Plan) -> str:
    return plan.binding[0].partition(":")[0]


def _line(label: str, value: str) -> str:
    return f"{label:12} {value}"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count >= 10_000 else f"{count:,} B"
