"""How long and how fast to learn, and how images are varied: all that a recipe's file says.

What a recipe leaves to the plan: the batch and how many of them make an update, what multiplies
the rate of each parameter (`frontend.layers` gives biases twice the rate of weights and no decay;
a recipe's own factors come on top), and of which crop the mean image is subtracted.
"""

from fnmatch import fnmatchcase
from fractions import Fraction
from math import prod
from typing import Annotated, Literal

import msgspec

from runtime.rates import Count, Errors, Milestones, Rates, Table

LARGEST = 1e38
"""Of amounts: such a float32 is finite."""
Amount = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Epochs = Annotated[int, msgspec.Meta(ge=0, le=10**6)]


class Augment(Table, frozen=True):
    """How training images are varied, as far as the data set says that it leaves labels true.

    Crops begin at the first `positions` places of each axis (all that there are, if None); a crop
    and a flip are drawn for every image, or for each `shared` images in the order of the epoch.
    Colours shift along the principal directions of the pixels' colours by N(0, colour^2) times
    the deviation there, of pixels in 0 ... 255, or the eigenvalue, of pixels in 0 ... 1.
    They shift until so many epochs are done. While they do, a plan that has the feed `gain`
    multiplies images by 1 / 1.1.
    """

    crop: bool = True
    flip: bool = True
    positions: Count | None = None
    shared: Count = 1
    colour: Amount = 0.1
    scale: Literal["deviation", "eigenvalue"] = "deviation"
    until: Epochs | None = None

    def shifts(self, epoch: int) -> bool:
        """Whether colours shift in an epoch, counted from 0."""
        return self.colour > 0 and (self.until is None or epoch < self.until)


class Rule(Table, frozen=True):
    """Parameters whose name is like `names` (`*.bias`), once `after` epochs are done.

    `rate` multiplies their rate, with 0 they are frozen; their `schedule` replaces the recipe's.
    """

    names: str
    after: Epochs = 0
    rate: Amount = 1.0
    schedule: Rates | None = None

    def concerns(self, parameter: str) -> bool:
        """Whether a parameter's name is like those of the rule."""
        return fnmatchcase(parameter, self.names)


class Recipe(Table, frozen=True):
    """`epochs` is the length at most; `batch` is what the rate was chosen for, in images.

    With `reshuffle` each epoch takes the images in an order of its own, else all in the same one.
    """

    rate: Amount
    epochs: Count
    schedule: Rates = Milestones()
    momentum: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    decay: Amount = 0.0005
    parameters: tuple[Rule, ...] = ()
    augment: Augment = Augment()
    batch: Count | None = None
    reshuffle: bool = True

    def rate_at(self, time: Fraction, errors: Errors = ()) -> float:
        """The learning rate, as `runtime.rates` says."""
        return self.rate / self.schedule.divisor(time, self.epochs, errors)

    def rate_of(self, parameter: str, time: Fraction, errors: Errors = ()) -> float:
        """That of one parameter. Of several rules all factors count, and the last schedule."""
        rules = [r for r in self.parameters if r.concerns(parameter) and time >= r.after]
        schedule = next((r.schedule for r in reversed(rules) if r.schedule), self.schedule)
        rate = self.rate / schedule.divisor(time, self.epochs, errors)
        return rate * prod(rule.rate for rule in rules)

    def __str__(self) -> str:
        special = "".join(f"; {rule.names} on its own" for rule in self.parameters)
        order = "" if self.reshuffle else " in one order"
        return (
            f"rate {self.rate:g}{self.schedule}{special}; momentum {self.momentum:g}; "
            f"decay {self.decay:g}; {self.epochs} epochs{order}"
        )
