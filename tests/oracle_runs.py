"""Runs of `tests.oracle_train`, and what they leave."""

import json
import sys
from pathlib import Path

import pytest

from runtime.log import Record, read
from tests import oracle_train

BATCH = 100  # 15 batches in each epoch of the digits


def plan(folder: Path, accumulate: int = 1) -> str:
    path = folder / f"plan{accumulate}.json"
    path.write_text(json.dumps({"accumulate": accumulate, "batch": BATCH}))
    return str(path)


def trained(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the command within this process, which is faster."""
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    oracle_train.main()


def timeless(path: Path) -> list[Record]:
    """A log without what differs from run to run."""
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in times} for record in read(path)]
