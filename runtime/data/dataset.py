"""What a reader of a data set returns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.data.draws import Indices
from runtime.recipe import Recipe

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Part:
    """Labels i32[count], and a function that reads the images u8[n,3,size,size] at n indices."""

    labels: Labels
    read: Callable[[Indices], Images]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Suits:
    """The augmentation that leaves labels true; `colour` is the deviation of the shift's alphas."""

    crop: bool = True
    flip: bool = False
    colour: float = 0.0


@dataclass(frozen=True)
class Dataset:
    """Images of one size in two parts that share none, and how to learn them."""

    name: str
    about: str
    classes: int
    train: Part
    validation: Part
    suits: Suits
    recipe: Recipe
