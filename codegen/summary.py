"""The few numbers that a build prints, and a prediction of the time of a step."""

from collections.abc import Iterator

from codegen.assemble import Assembled
from ir.plan import Move, Plan, Program, Run

FLOPS = 80e9
BYTES = 10e9
"""What one core computes and moves per second, for predictions."""


def summary(assembled: Assembled, cores: int) -> Iterator[str]:
    """A line for each fact. Steps, transfers and time are those of the first program."""
    plan, name = assembled.plan, next(iter(assembled.programs))
    program = plan.programs[name]
    calls = sum(isinstance(s, Run) for p in plan.programs.values() for s in p.steps)
    moves = [step.bytes for step in program.steps if isinstance(step, Move)]
    scratch = max((kernel.scratch for kernel in plan.kernels.values()), default=0)
    yield _line("devices", ", ".join(plan.binding))
    yield _line("programs", ", ".join(plan.programs))
    yield _line("nodes", f"{len(assembled.programs[name].nodes)}, {len(program.steps)} steps")
    yield _line("kernels", f"{len(plan.kernels)} for {calls} calls, {assembled.cached} from cache")
    for number, device in enumerate(plan.devices):
        bound = f"lower bound {_mb(device.lower_bound)}"
        yield _line(f"arena dev{number}", f"{_mb(device.arena)} ({bound})")
    yield _line("scratch", f"{_mb(scratch)} for each thread")
    yield _line("transfers", f"{len(moves)}, {_mb(sum(moves))} per step")
    seconds = predicted(plan, program, cores)
    yield _line("predicted", f"{seconds * 1e3:,.1f} ms per step on {cores} cores ({name})")


def predicted(plan: Plan, program: Program, cores: int) -> float:
    """Seconds: each kernel takes as long as its arithmetic or its memory traffic, what is more.

    A guess from fixed speeds, not a measurement; all logical devices share the cores.
    """
    seconds = 0.0
    for step in program.steps:
        if isinstance(step, Run):
            kernel = plan.kernels[step.kernel]
            seconds += max(kernel.flops / FLOPS, kernel.moved / BYTES) / cores
        else:
            seconds += 2 * step.bytes / BYTES
    return seconds


def _line(label: str, value: str) -> str:
    return f"{label:12} {value}"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count >= 10_000 else f"{count:,} B"
