"""From a part of a data set to what a program is fed at each step, by the names of its feeds.

Training goes through a new permutation in each epoch; crop, flip and colour shift are keyed by
seed, epoch and image. Validation goes through the images in order, with the middle crop. A last
batch that is short is filled with images of weight 0.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ir.command import Error
from ir.plan import Feed
from runtime.data import draws
from runtime.data.dataset import Dataset, Part
from runtime.data.draws import Indices, Purpose
from runtime.data.statistics import colour_axes, mean_image

Values = dict[str, npt.NDArray[np.generic]]

_WORDS = 9  # of random bits for an image: row, column, flip, and two for each colour axis


SUPPLIED = ("images", "labels", "weights", "offset", "flip", "shift", "mean", "gain")


class Batches:
    """The batches of one part: `fixed` feeds are the same for all, `batch(i)` makes those of one.

    Without a seed they are in order; `augment` asks for what the data set says suits it.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: Part,
        feeds: Iterable[Feed],
        *,
        seed: int | None = None,
        augment: bool = False,
    ) -> None:
        """Raises Error for feeds that do not fit the data set."""
        self._feeds = {feed.logical: feed for feed in feeds}
        self._part, self._seed = part, seed
        self._augment = augment and seed is not None
        self._suits = dataset.suits
        self.size = image_size(self._feeds)
        self.batch_size = self._shape("images")[0]
        self.count = -(-len(part) // self.batch_size)
        labels = self._feeds.get("labels")
        if labels is not None and dataset.classes > labels.below:
            raise Error(
                f"data set {dataset.name} has {dataset.classes} classes; "
                f"the plan tells {labels.below} apart"
            )
        self._axes = colour_axes(dataset.train) if self._colour else None
        self.fixed = self._fixed(dataset)
        self._order = lru_cache(maxsize=2)(self._permutation)

    def batch(self, index: int) -> Values:
        """The feeds of batch `index`, counted from the start of training."""
        epoch, place = divmod(index, self.count)
        chosen = self._order(epoch)[place * self.batch_size :][: self.batch_size]
        values: Values = {
            "images": self._part.read(chosen),
            "labels": self._part.labels[chosen],
            "weights": np.ones(len(chosen), np.float32),
        }
        values |= self._augmentation(chosen, epoch)
        return {name: self._filled(v) for name, v in values.items() if name in self._feeds}

    def _fixed(self, dataset: Dataset) -> Values:
        fixed: Values = {}
        if "mean" in self._feeds:
            fixed["mean"] = _middle(mean_image(dataset.train), self._shape("mean")[-1])
        if "gain" in self._feeds:
            # The 2012 program divides by 1.1 while it adds noise to the colours.
            fixed["gain"] = np.asarray(1 / 1.1 if self._colour else 1.0, np.float32)
        return fixed

    def _augmentation(self, chosen: Indices, epoch: int) -> Values:
        raw = self._raw(chosen, epoch)
        offset, flip = self._feeds.get("offset"), np.zeros(len(chosen), np.int32)
        places = 1 if offset is None else offset.below
        corner = np.full((len(chosen), 2), (places - 1) // 2, np.int32)
        shift = np.zeros((len(chosen), 3), np.float32)
        if self._augment and self._suits.crop:
            corner = draws.below(raw[:, :2], places).astype(np.int32)
        if self._augment and self._suits.flip:
            flip = draws.below(raw[:, 2], 2).astype(np.int32)
        if self._axes is not None:
            alphas = self._suits.colour * draws.normal(raw[:, 3:].ravel()).reshape(-1, 3)
            shift = (alphas @ self._axes.T).astype(np.float32)
        return {"offset": corner, "flip": flip, "shift": shift}

    def _raw(self, chosen: Indices, epoch: int) -> draws.Bits:
        """Random words [n,_WORDS], those of each image its own."""
        key = {"seed": self._seed or 0, "epoch": epoch}
        return np.stack(
            [draws.bits(_WORDS, Purpose.AUGMENT, item=int(image), **key) for image in chosen]
        )

    @property
    def _colour(self) -> bool:
        return self._augment and self._suits.colour > 0 and "shift" in self._feeds

    def _permutation(self, epoch: int) -> Indices:
        if self._seed is None:
            return np.arange(len(self._part))
        return draws.order(len(self._part), Purpose.ORDER, seed=self._seed, epoch=epoch)

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
