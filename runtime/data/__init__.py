"""Data sets by name, one reader file each and one line here, or stores by their folder."""

from collections.abc import Callable
from pathlib import Path

from ir.command import Error
from runtime.data import store
from runtime.data.dataset import Dataset
from runtime.data.digits import digits
from runtime.data.photos import photos

DATASETS: dict[str, Callable[[int], Dataset]] = {"digits": digits, "photos": photos}


def load(name: str, size: int) -> Dataset:
    """A data set with images of a side of `size`. Raises Error for an unknown name."""
    if name in DATASETS:
        return DATASETS[name](size)
    if not Path(name).is_dir():
        expected = ", ".join(DATASETS)
        raise Error(f"data set is {name!r}; expected one of {expected}, or a store's folder")
    return store.opened(Path(name), size)
