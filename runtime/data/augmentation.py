"""How the images of a batch are cropped, flipped and coloured.

What an image gets depends on seed, epoch and image; where several images in a row share a crop and
a flip, on the place of that row in the epoch. Neither depends on the batches.
"""

import numpy as np

from runtime.data import draws
from runtime.data.dataset import Suits
from runtime.data.draws import Bits, Floats, Indices, Purpose
from runtime.packing import Array
from runtime.recipe import Augment

GAIN = np.float32(1 / 1.1)
"""The 2012 program divides by 1.1 while it adds noise to the colours."""

_MOVES, _COLOURS = 3, 6  # words of random bits: row, column, flip; two for each colour axis
_SCALE = 255.0  # the eigenvalues are of pixels in 0 ... 1


class Augmentation:
    """Of images cropped at one of `places` along each axis; `axes` as `colour_axes` gives them.

    Without axes no colour shifts.
    """

    def __init__(
        self, augment: Augment, suits: Suits, axes: Floats | None, places: int, seed: int
    ) -> None:
        self._augment, self._suits, self._seed = augment, suits, seed
        self._places = min(augment.positions or places, places)
        self._axes = None if axes is None else augment.colour * _scaled(axes, augment.scale)

    def values(self, chosen: Indices, first: int, epoch: int) -> dict[str, Array]:
        """For the images `chosen`, which follow each other in the epoch from place `first` on.

        offset i32[n,2], flip i32[n], shift f32[n,3]; absent is what stays as it is.
        """
        found: dict[str, Array] = {}
        raw = self._raw(chosen, first, epoch)
        if self._augment.crop and self._suits.crop:
            found["offset"] = draws.below(raw[:, :2], self._places).astype(np.int32)
        if self._augment.flip and self._suits.flip:
            found["flip"] = draws.below(raw[:, 2], 2).astype(np.int32)
        if self._axes is not None and self.shifts(epoch):
            alphas = draws.normal(raw[:, _MOVES:].ravel()).reshape(-1, 3)
            found["shift"] = (alphas @ self._axes.T).astype(np.float32)
        return found

    def shifts(self, epoch: int) -> bool:
        """Whether colours shift in an epoch."""
        return self._axes is not None and self._augment.shifts(epoch)

    def _raw(self, chosen: Indices, first: int, epoch: int) -> Bits:
        """Random words [n,_MOVES + _COLOURS]: those of each image, the moves those of its row."""
        own = self._words(Purpose.AUGMENT, chosen.tolist(), _MOVES + _COLOURS, epoch)
        if self._augment.shared > 1:
            rows = np.arange(first, first + len(chosen)) // self._augment.shared
            number, which = np.unique(rows, return_inverse=True)
            own[:, :_MOVES] = self._words(Purpose.ROW, number.tolist(), _MOVES, epoch)[which]
        return own

    def _words(self, purpose: Purpose, items: list[int], count: int, epoch: int) -> Bits:
        key = {"seed": self._seed, "epoch": epoch}
        return np.stack([draws.bits(count, purpose, item=item, **key) for item in items])


def _scaled(axes: Floats, scale: str) -> Floats:
    """Axes as long as the deviation along them, or as its square for smaller pixels."""
    return axes * np.linalg.norm(axes, axis=0) / _SCALE if scale == "eigenvalue" else axes
