"""What the reader of a source returns."""

from dataclasses import dataclass
from pathlib import Path

from ir.command import DataError
from runtime.data.sources.listing import Listing

SIZE = 256  # of stored images, as in the paper


@dataclass(frozen=True)
class Source:
    """Classes and items; `validation` is None where a part of `train` is to be split off.

    Items are image files or, where `pixels` says so, u8[3,size,size] without a header.
    """

    about: str
    classes: tuple[str, ...]
    train: Listing
    validation: Listing | None = None
    size: int = SIZE
    pixels: bool = False


def cannot_read(path: Path, error: OSError) -> DataError:
    """The complaint about a part of a source that cannot be read."""
    return DataError(f"{path}: cannot be read: {error.strerror}")
