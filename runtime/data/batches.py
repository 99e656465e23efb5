"""From a part of a data set to what a program is fed at each step, by the names of its feeds.

Training goes through a permutation, a new one in each epoch or always the same, its images varied
as `augmentation` says.
Validation goes through the images in order, with the middle crop. A last batch that is short is
filled with images of weight 0.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ir.command import Error
from ir.plan import Feed
from runtime.data import draws
from runtime.data.augmentation import GAIN, Augmentation
from runtime.data.dataset import Dataset, Part
from runtime.data.draws import Indices, Purpose
from runtime.data.statistics import colour_axes, mean_image
from runtime.recipe import Augment

Values = dict[str, npt.NDArray[np.generic]]

SUPPLIED = ("images", "labels", "weights", "offset", "flip", "shift", "mean", "gain")


class Batches:
    """The batches of one part: `fixed` feeds are the same for all, `batch(i)` makes those of one.

    Without a seed they are in order and nothing is varied, whatever `augment` asks for.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: Part,
        feeds: Iterable[Feed],
        *,
        seed: int | None = None,
        augment: Augment | None = None,
        reshuffle: bool = True,
    ) -> None:
        """Raises Error for feeds that do not fit the data set."""
        self._feeds = {feed.logical: feed for feed in feeds}
        self._part, self._seed, self._reshuffle = part, seed, reshuffle
        self.size = image_size(self._feeds)
        self.batch_size = self._shape("images")[0]
        self.count = -(-len(part) // self.batch_size)
        labels = self._feeds.get("labels")
        if labels is not None and dataset.classes > labels.below:
            raise Error(
                f"data set {dataset.name} has {dataset.classes} classes; "
                f"the plan tells {labels.below} apart"
            )
        self._places = self._feeds["offset"].below if "offset" in self._feeds else 1
        self._augmentation = self._varied(dataset, augment)
        self.fixed: Values = {}
        if "mean" in self._feeds:
            self.fixed["mean"] = _middle(mean_image(dataset.train), self._shape("mean")[-1])
        self._order = lru_cache(maxsize=2)(self._permutation)

    def batch(self, index: int) -> Values:
        """The feeds of batch `index`, counted from the start of training."""
        epoch, place = divmod(index, self.count)
        first = place * self.batch_size
        chosen = self._order(epoch)[first:][: self.batch_size]
        values: Values = {
            "images": self._part.read(chosen),
            "labels": self._part.labels[chosen],
            "weights": np.ones(len(chosen), np.float32),
            "offset": np.full((len(chosen), 2), (self._places - 1) // 2, np.int32),
            "flip": np.zeros(len(chosen), np.int32),
            "shift": np.zeros((len(chosen), 3), np.float32),
        }
        gain = np.float32(1)
        if self._augmentation is not None:
            values |= self._augmentation.values(chosen, first, epoch)
            gain = GAIN if self._augmentation.shifts(epoch) else gain
        filled = {name: self._filled(value) for name, value in values.items()}
        filled["gain"] = np.asarray(gain)
        return {name: value for name, value in filled.items() if name in self._feeds}

    def _varied(self, dataset: Dataset, augment: Augment | None) -> Augmentation | None:
        if augment is None or self._seed is None:
            return None
        colour = augment.colour > 0 and dataset.suits.colour and "shift" in self._feeds
        axes = colour_axes(dataset.train) if colour else None
        return Augmentation(augment, dataset.suits, axes, self._places, self._seed)

    def _permutation(self, epoch: int) -> Indices:
        if self._seed is None:
            return np.arange(len(self._part))
        key = {"seed": self._seed, "epoch": epoch if self._reshuffle else 0}
        return draws.order(len(self._part), Purpose.ORDER, **key)

    def _filled(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        missing = self.batch_size - len(values)
        return np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1)) if missing else values

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._feeds[name].tensor.layout.shape


def image_size(feeds: dict[str, Feed]) -> int:
    """The side of the images that a program is fed. Raises Error unless they are u8[n,3,s,s]."""
    if "images" not in feeds:
        raise Error(f"the plan has no feed 'images'; it has {', '.join(sorted(feeds)) or 'none'}")
    tensor = feeds["images"].tensor
    shape = tensor.layout.shape
    if tensor.dtype != "u8" or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise Error(f"the feed 'images' is {tensor.dtype}{list(shape)}; expected u8[n,3,size,size]")
    return shape[2]


def _middle(image: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    first = (image.shape[1] - size) // 2
    return np.ascontiguousarray(image[:, first : first + size, first : first + size])
