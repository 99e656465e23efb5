"""Which batches, epoch and rates belong to a step; a step is one update, of one or more batches."""

from dataclasses import dataclass
from fractions import Fraction

from runtime.rates import Errors
from runtime.recipe import Recipe


@dataclass(frozen=True)
class Schedule:
    """`batches_per_epoch` batches of data, `accumulate` of them in each step.

    Epochs follow each other without a gap: a step may take its last batches from the next one.
    """

    recipe: Recipe
    batches_per_epoch: int
    accumulate: int = 1

    def batches(self, step: int) -> range:
        """The batches of a step; all are counted from 0."""
        return range(step * self.accumulate, (step + 1) * self.accumulate)

    def epoch(self, step: int) -> int:
        """The epoch of a step's first batch."""
        return step * self.accumulate // self.batches_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch's last batch is among those of this step."""
        return self.epoch(step) < (step + 1) * self.accumulate // self.batches_per_epoch

    def rate(self, step: int, errors: Errors = ()) -> float:
        """The learning rate of a step, after epochs with these validation errors."""
        return self.recipe.rate_at(self._time(step), errors)

    def rate_of(self, parameter: str, step: int, errors: Errors = ()) -> float:
        """The same for one parameter, before what the plan multiplies it by."""
        return self.recipe.rate_of(parameter, self._time(step), errors)

    def steps(self, epochs: int) -> int:
        """How many steps the first epochs take."""
        return -(-epochs * self.batches_per_epoch // self.accumulate)

    def _time(self, step: int) -> Fraction:
        """How many epochs are done before a step."""
        return Fraction(step * self.accumulate, self.batches_per_epoch)
