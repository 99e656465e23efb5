"""Steps and validations on an open executor; knows neither files nor the clock's end.

A step is started, and finished when its record is wanted: on devices that run ahead, after the next
one was started.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from runtime.data.batches import Batches, Values
from runtime.data.prefetch import prefetched
from runtime.executor import Executor, Outputs, Watch
from runtime.feeds import Packed
from runtime.log import Record
from runtime.measures import Mean
from runtime.packing import Array
from runtime.programs import ACCUMULATE, APPLY, EVALUATE, data_program, rates
from runtime.rates import Errors
from runtime.schedule import Schedule

Prepared = tuple[float, dict[str, Packed]]  # the batch's weight, and its feeds


class Trainer:
    """Feeds the programs of a plan."""

    def __init__(
        self,
        executor: Executor,
        schedule: Schedule,
        training: Batches,
        validation: Batches | None,
        seed: int,
        *,
        errors: Errors = (),
        run: Callable[[str, Watch | None], Outputs] | None = None,
    ) -> None:
        """Feeds what is the same for all steps. The plan must have passed `programs.check`.

        `errors` are the validation errors after the epochs done so far; `run` is used in place of
        the executor's.
        """
        self._executor, self._schedule = executor, schedule
        self._run = run or executor.run
        self._going: deque[_Step] = deque()
        self._finished = 0.0
        self._training, self._validation = training, validation
        self._rates = rates(executor.plan)
        self.errors = errors
        self._data = data_program(executor.plan)
        self._feeds = {
            name: {feed.logical for feed in program.feeds}
            for name, program in executor.plan.programs.items()
        }
        counters = {"seed": _u32(seed), "step": _u32(0)}
        self._feed(self._data, counters | training.fixed)
        if validation is not None:
            self._feed(EVALUATE, counters | validation.fixed)

    def batches(self, first: int, last: int) -> Generator[Prepared]:
        """The training batches of the steps from `first` to before `last`, made ahead."""
        start, stop = self._schedule.batches(first).start, self._schedule.batches(last).start
        return prefetched(lambda i: self._packed(self._data, self._training.batch(i)), start, stop)

    @property
    def going(self) -> int:
        """How many steps were started and not finished."""
        return len(self._going)

    @property
    def ended(self) -> bool:
        """Whether the schedule has ended the run."""
        return self._schedule.recipe.schedule.ended(self.errors)

    def start(self, step: int, batches: Iterator[Prepared], watch: Watch | None = None) -> None:
        """Start one update, counted from 0."""
        going = _Step(step, self._schedule.rate(step, self.errors), time.perf_counter())
        update = self._update(step)
        for place, index in enumerate(self._schedule.batches(step)):
            weight, values = next(batches)
            counters = {"step": _u32(index % 2**32), "keep": _f32(place > 0)}
            self._feed(self._data, {**values, **counters, **update})
            going.runs.append((weight, self._run(self._data, watch)))
        if self._data == ACCUMULATE:
            self._feed(APPLY, update)
            self._run(APPLY, watch)
        self._going.append(going)

    def finish(self) -> Record:
        """The record of the step that was started first, when it is done; it counts from 1.

        Its time is that since its start, or since the step before was done.
        """
        done = self._going.popleft()
        found = Mean()
        for weight, outputs in done.runs:
            found.take(weight, outputs)
        start, self._finished = max(done.start, self._finished), time.perf_counter()
        seconds = self._finished - start
        return {
            "step": done.step + 1,
            "epoch": self._schedule.epoch(done.step) + 1,
            **found.means(),
            "lr": done.rate,
            "images_per_second": found.weight / seconds,
            "seconds": seconds,
        }

    def validate(self, step: int) -> Record | None:
        """The record of a validation after a step; None where there is nothing to validate with.

        Schedules learn the error after an epoch, and that only: a run that was cut elsewhere
        takes the same steps.
        """
        if self._validation is None:
            return None
        start = time.perf_counter()
        found, going = Mean(), deque[tuple[float, Outputs]]()
        batch = self._validation.batch
        for weight, values in prefetched(
            lambda i: self._packed(EVALUATE, batch(i)), 0, self._validation.count
        ):
            self._feed(EVALUATE, values)
            going.append((weight, self._run(EVALUATE, None)))
            if len(going) > self._executor.ahead:
                found.take(*going.popleft())
        for each in going:
            found.take(*each)
        means = found.means()
        if self._schedule.ends_epoch(step):
            self.errors += (1 - means["top1"],)
        return {
            "step": step + 1,
            "epoch": self._schedule.epoch(step) + 1,
            **{f"validation_{name}": value for name, value in means.items()},
            "seconds": time.perf_counter() - start,
        }

    def _update(self, step: int) -> Values:
        """What the update is fed."""
        recipe = self._schedule.recipe
        values = {"momentum": _f32(recipe.momentum), "decay": _f32(recipe.decay)}
        for name, by in self._rates.items():
            values[f"{name}.rate"] = _f32(self._schedule.rate_of(name, step, self.errors) * by)
        return values

    def _packed(self, program: str, values: Values) -> Prepared:
        weight = float(np.sum(values.get("weights", np.float32(1))))
        return weight, {n: self._executor.pack(program, n, v) for n, v in values.items()}

    def _feed(self, program: str, values: Mapping[str, Array | Packed]) -> None:
        for name in self._feeds[program] & values.keys():
            self._executor.feed(program, name, values[name])


def _f32(value: float) -> Array:
    return np.array(value, np.float32)


def _u32(value: int) -> Array:
    return np.array(value, np.uint32)


@dataclass
class _Step:
    """A step that was started, and its runs on weighted batches."""

    step: int
    rate: float
    start: float
    runs: list[tuple[float, Outputs]] = field(default_factory=list)
