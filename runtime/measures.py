"""What programs measure of a batch, and its means over several batches."""

from runtime.executor import Outputs
from runtime.log import Record

MEASURES = ("loss", "top1", "top5")


class Mean:
    """Weighted means of the measures of several batches; `weight` is that of all so far."""

    def __init__(self) -> None:
        self.weight = 0.0
        self._sums = dict.fromkeys(MEASURES, 0.0)

    def take(self, weight: float, outputs: Outputs) -> None:
        """Count the outputs of a run, with its weight. Raises what the run raised."""
        measures = outputs()
        self.weight += weight
        for name in MEASURES:
            self._sums[name] += weight * float(measures[name])

    def means(self) -> Record:
        """The means by the measures' names."""
        return {name: total / self.weight for name, total in self._sums.items()}
