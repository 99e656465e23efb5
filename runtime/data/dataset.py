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
class Statistics:
    """The mean of each pixel f32[3,size,size], and how colours vary together [3,3]."""

    mean: npt.NDArray[np.float32]
    covariance: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """Labels i32[count], and a function that reads the images u8[n,3,size,size] at n indices.

    `statistics` are of all its images, where they are known without reading these.
    """

    labels: Labels
    read: Callable[[Indices], Images]
    statistics: Statistics | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Suits:
    """The augmentation that leaves labels true; how much there is of it, recipes say."""

    crop: bool = True
    flip: bool = False
    colour: bool = False


@dataclass(frozen=True)
class Dataset:
    """Images of one size in two parts that share none, and how to learn them.

    `names` are those of the classes, where they have any.
    """

    name: str
    about: str
    classes: int
    train: Part
    validation: Part
    suits: Suits
    recipe: Recipe
    names: tuple[str, ...] = ()
