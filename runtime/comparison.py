"""What was measured beside what the plan predicts: of each step, of each device, of a whole run."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from ir.plan import Program, Run
from ir.plan.prediction import Prediction
from runtime.executor import Event, Step

ROWS = 20
"""Steps that are listed, those that take longest."""
NAMED = 44
"""Characters of a step's name."""


@dataclass(frozen=True)
class Measured:
    """A step's median seconds over the runs, and what was predicted."""

    step: Step
    seconds: float
    predicted: float

    @property
    def error(self) -> float:
        """Of the prediction, as a part of what was measured."""
        return abs(self.predicted / self.seconds - 1) if self.seconds else 0.0


class Comparison:
    """Some runs of a program. The first one, which warms caches up, counts only when alone."""

    def __init__(self, prediction: Prediction, program: Program, events: Sequence[Event]) -> None:
        self._prediction, self._program = prediction, program
        runs = _runs(program, events)
        self._runs = runs[1:] or runs
        self.kernels = [self._measured(step) for step in program.steps if isinstance(step, Run)]

    def lines(self) -> Iterator[str]:
        """A table of the longest steps, then devices, then errors; nothing without a whole run."""
        if not self._runs:
            return
        whole, predicted = self.seconds, self._prediction.timeline(self._program).seconds
        yield f"{'step':{NAMED}} {'ms':>9} {'predicted':>9} {'share':>6}"
        rows = sorted(self.kernels, key=lambda each: -each.seconds)
        total = sum(each.seconds for each in rows)
        for each in rows[:ROWS]:
            yield _row(_name(each.step), each.seconds, each.predicted, total)
        if rest := rows[ROWS:]:
            others = sum(e.seconds for e in rest), sum(e.predicted for e in rest)
            yield _row(f"{len(rest)} other steps", *others, total)
        for device in self._prediction.devices:
            idle = whole - self.busy(device)
            yield f"{device} idles {1e3 * idle:.1f} ms of {1e3 * whole:.1f} ({idle / whole:.1%})"
        error = abs(predicted / whole - 1)
        each_error = median(each.error for each in rows) if rows else 0.0
        yield (
            f"predicted {1e3 * predicted:.1f} ms of {1e3 * whole:.1f}: error {error:.1%}, "
            f"of a single step {each_error:.1%} (median)"
        )

    @property
    def seconds(self) -> float:
        """Of a run, from its first event to its last."""
        return median(max(e.end for e in run) - min(e.start for e in run) for run in self._runs)

    def busy(self, device: str) -> float:
        """Seconds of a run in which a device computes."""
        return median(
            sum(e.end - e.start for e in run if self._computes(e, device)) for run in self._runs
        )

    def _computes(self, event: Event, device: str) -> bool:
        return isinstance(event.step, Run) and self._prediction.binding[event.device] == device

    def _measured(self, step: Run) -> Measured:
        spent = [e.end - e.start for run in self._runs for e in run if e.step == step]
        return Measured(step, median(spent or [0.0]), self._prediction.seconds(step))


def _runs(program: Program, events: Sequence[Event]) -> list[list[Event]]:
    """The events of each whole run. The n-th time that a device takes a step is in the n-th run."""
    steps, times = set(program.steps), Counter[tuple[int, Step]]()
    runs: list[list[Event]] = []
    for event in sorted(events, key=lambda event: event.start):
        if event.step in steps:
            number = times[event.device, event.step]
            times[event.device, event.step] += 1
            runs += [[]] if number == len(runs) else []
            runs[number].append(event)
    return [run for run in runs if len(run) == len(runs[0])]


def _name(step: Step) -> str:
    if not isinstance(step, Run):
        return f"transfer {step.value}"
    # A kernel's name is its ops and a digest.
    name = f"{step.writes[0]}: {step.kernel.rpartition('-')[0] or step.kernel}"
    return name if len(name) <= NAMED else f"{name[: NAMED - 3]}..."


def _row(name: str, seconds: float, predicted: float, total: float) -> str:
    share = seconds / total if total else 0.0
    return f"{name:{NAMED}} {1e3 * seconds:9.2f} {1e3 * predicted:9.2f} {share:6.1%}"
