"""A Chrome trace of a few steps (chrome://tracing, ui.perfetto.dev): one row for each device.

A transfer is a slice on both its devices, and an arrow from one to the other. Beside what was
measured stands what the plan predicts, in milliseconds.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ir.plan import Move, Plan, Run
from ir.plan.prediction import Prediction
from runtime import files
from runtime.comparison import Comparison
from runtime.executor import Event

STEPS = 10  # that are recorded
Slice = dict[str, object]


class Profile:
    """Collects what an executor reports; `watch` is called from its threads."""

    def __init__(self, prediction: Prediction) -> None:
        self._prediction = prediction
        self._events: list[Event] = []

    def watch(self, event: Event) -> None:
        """Take note of an event."""
        self._events.append(event)

    def write(self, path: Path) -> None:
        """Write the trace. Raises Error."""
        trace = {"traceEvents": self.trace(), "displayTimeUnit": "ms"}
        files.write_text(path, json.dumps(trace))

    def table(self) -> Iterator[str]:
        """The program that takes most of a step, as lines for a reader."""
        programs = self._prediction.plan.programs
        data = programs.get("train") or programs.get("accumulate")
        if data is not None:
            yield from Comparison(self._prediction, data, self._events).lines()

    def trace(self) -> list[Slice]:
        """The trace's events, times in microseconds from the first one on."""
        events = sorted(self._events, key=lambda event: event.start)
        origin = events[0].start if events else 0.0
        seen: Counter[tuple[Move, int]] = Counter()
        found = [_row(device) for device in sorted({event.device for event in events})]
        for event in events:
            found.append(_slice(event, origin, self._prediction.seconds(event.step)))
            if isinstance(event.step, Move):
                # Both sides meet in the same order, so the n-th of one is the n-th of the other.
                seen[event.step, event.device] += 1
                found.append(_arrow(event, event.step, seen[event.step, event.device], origin))
        return found


def profile(plan: Plan, devices: str | None, threads: int | None) -> Profile:
    """For a plan on the devices of a binding, its own where none is given."""
    binding = devices.split(",") if devices else plan.binding
    return Profile(Prediction(plan, binding, threads or len(os.sched_getaffinity(0))))


def _row(device: int) -> Slice:
    name = {"name": f"device {device}"}
    return {"ph": "M", "name": "thread_name", "pid": 0, "tid": device, "args": name}


def _slice(event: Event, origin: float, predicted: float) -> Slice:
    step = event.step
    name = ", ".join(step.writes) if isinstance(step, Run) else f"transfer {step.value}"
    facts = {"kernel": step.kernel} if isinstance(step, Run) else {"bytes": step.bytes}
    return {
        "ph": "X",
        "name": name,
        "cat": "kernel" if isinstance(step, Run) else "transfer",
        "pid": 0,
        "tid": event.device,
        "ts": (event.start - origin) * 1e6,
        "dur": (event.end - event.start) * 1e6,
        "args": {"index": step.index, "predicted_ms": 1e3 * predicted, **facts},
    }


def _arrow(event: Event, move: Move, time: int, origin: float) -> Slice:
    """An arrow's start at the source, or its end at the target, in the middle of the slice."""
    side: Slice = {"ph": "s"} if event.device == move.source else {"ph": "f", "bp": "e"}
    return {
        **side,
        "name": move.value,
        "cat": "transfer",
        "id": f"{move.value} {move.source}-{move.target} {time}",
        "pid": 0,
        "tid": event.device,
        "ts": ((event.start + event.end) / 2 - origin) * 1e6,
    }
