"""Schedules: what divides the learning rate as a run goes on.

`time` is how many epochs are done, as a fraction; `errors` are the validation errors after each of
these epochs. Both follow from where a run is, so a resumed run goes on as if it had never stopped.
"""

from fractions import Fraction
from math import inf
from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=10**6)]
Factor = Annotated[float, msgspec.Meta(ge=1, le=1e9)]
Errors = tuple[float, ...]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a recipe's file; unknown keys are refused."""


class Schedule(Table, frozen=True, tag_field="kind"):
    """What divides the rate, by its `kind`."""

    def divisor(self, time: Fraction, epochs: int, errors: Errors) -> float:
        """What the rate is divided by; `epochs` is the recipe's length."""
        raise NotImplementedError

    def ended(self, errors: Errors) -> bool:
        """Whether the run is over before the recipe's length."""
        return False


class Plateau(Schedule, frozen=True, tag="plateau"):
    """Divided by `factor` when `patience` epochs in a row brought no new least error.

    After `drops` divisions the next such wait ends the run.
    """

    factor: Factor = 10.0
    drops: Count = 3
    patience: Count = 5

    def divisor(self, time: Fraction, epochs: int, errors: Errors) -> float:
        return power(self.factor, min(self._waits(errors), self.drops))

    def ended(self, errors: Errors) -> bool:
        return self._waits(errors) > self.drops

    def __str__(self) -> str:
        wait = f"the error fell in none of {self.patience} epochs"
        return f", / {self.factor:g} when {wait}, {self.drops} times at most"

    def _waits(self, errors: Errors) -> int:
        """How often `patience` epochs passed without a new least error."""
        best, since, waits = inf, 0, 0
        for error in errors:
            best, since = min(best, error), 0 if error < best else since + 1
            if since == self.patience:
                waits, since = waits + 1, 0
        return waits


class Milestones(Schedule, frozen=True, tag="milestones"):
    """Divided by `factor` after each count of `epochs`, which must ascend."""

    epochs: tuple[Count, ...] = ()
    factor: Factor = 10.0

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"got epochs {list(self.epochs)}, expected ascending ones")

    def divisor(self, time: Fraction, epochs: int, errors: Errors) -> float:
        return power(self.factor, sum(time >= epoch for epoch in self.epochs))

    def __str__(self) -> str:
        return "".join(f", / {self.factor:g} after epoch {epoch}" for epoch in self.epochs)


class Exponential(Schedule, frozen=True, tag="exponential"):
    """The run in `steps` equal parts; by equal factors to a rate `factor` times lower in the last.

    So it depends on the recipe's length.
    """

    factor: Factor
    steps: Annotated[int, msgspec.Meta(ge=2, le=10**6)]

    def divisor(self, time: Fraction, epochs: int, errors: Errors) -> float:
        part = min(int(time * self.steps / epochs), self.steps - 1)
        return power(self.factor, part / (self.steps - 1))

    def __str__(self) -> str:
        return f", / {self.factor:g} in {self.steps} equal parts"


def power(factor: float, times: float) -> float:
    """Infinite where it is more than a float can be: rates are zero then."""
    try:
        return float(factor**times)
    except OverflowError:
        return inf


Rates = Plateau | Milestones | Exponential
