"""Where images come from: one reader file for each kind of source, and one line here."""

from dataclasses import dataclass
from pathlib import Path

from ir.command import DataError, Error
from runtime.data.sources import archives, folders, lists, records
from runtime.data.sources.source import Source

__all__ = ["KINDS", "Source", "opened"]


@dataclass(frozen=True)
class Kind:
    """How a kind of source is recognised, in words, and the module that reads it."""

    rule: str
    reader: "_Reader"
