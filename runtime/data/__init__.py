"""Data sets by name: one reader file each, and one line here."""

from collections.abc import Callable

from ir.command import Error
from runtime.data.dataset import Dataset
from runtime.data.digits import digits
from runtime.data.photos import photos

DATASETS: dict[str, Callable[[int], Dataset]] = {"digits": digits, "photos": photos}


def load(name: str, size: int) -> Dataset:
    """A data set with images of a side of `size`. Raises Error for an unknown name."""
    if name not in DATASETS:
        raise Error(f"data set is {name!r}; expected one of {', '.join(DATASETS)}")
    return DATASETS[name](size)
