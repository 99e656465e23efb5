"""How long and how fast to learn: a data set's default, changed by options.

The rate depends on the epoch alone, not on how many will follow, so a run that is stopped and
resumed, or prolonged, takes the same steps.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """`rate` is divided by 10 after each count of epochs in `drops`; `epochs` is the length."""

    rate: float
    epochs: int
    drops: tuple[int, ...] = ()
    momentum: float = 0.9
    decay: float = 0.0005
    batch: str = "any batch"

    def rate_at(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        return float(self.rate / 10 ** sum(epoch >= drop for drop in self.drops))

    def __str__(self) -> str:
        drops = "".join(f", / 10 after epoch {drop}" for drop in self.drops)
        return (
            f"rate {self.rate:g}{drops}; momentum {self.momentum:g}; decay {self.decay:g}; "
            f"{self.epochs} epochs; {self.batch}"
        )
