"""Verify a store: `python -m runtime.data.check STORE`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ir.command import DataError, run
from runtime.data import store
from runtime.data.store import manifest, shard, tensors
from runtime.data.store.manifest import PARTS, Manifest, Shard
from runtime.data.store.moments import Moments, moments
from runtime.data.store.tensors import Tensors
from runtime.data.workers import cores, ordered
from runtime.progress import Bar


@dataclass(frozen=True)
class Task:
    """A shard with the labels that it must hold."""

    folder: Path
    shard: Shard
    size: int
    labels: tensors.Array
    full: bool


def check(task: Task) -> tuple[str | None, Moments | None]:
    """What is wrong with a shard, if anything, and its moments where they are asked for."""
    path = task.folder / task.shard.file
    try:
        found = shard.mapped(path)
        if tensors.file_hash(path) != task.shard.sha256:
            raise DataError(f"{path}: sha256 is not that in {manifest.MANIFEST}")
        images, labels = found.arrays["images"], found.arrays["labels"]
        if images.shape != (task.shard.count, 3, task.size, task.size):
            raise DataError(f"{path}: holds images {list(images.shape)}")
        if not np.array_equal(labels, task.labels):
            raise DataError(f"{path}: its labels are not those in {manifest.SUMMARY}")
        return None, moments(images) if task.full else None
    except DataError as error:
        return str(error), None


def _tasks(folder: Path, facts: Manifest, summary: Tensors, part: str, full: bool) -> list[Task]:
    ends = np.cumsum([each.count for each in facts.shards(part)])
    pieces = np.split(np.asarray(summary.arrays[part]), ends[:-1])
    return [
        Task(folder, each, facts.size, labels, full and part == "train")
        for each, labels in zip(facts.shards(part), pieces, strict=True)
    ]


def verify(folder: Path, *, full: bool, workers: int) -> Manifest:
    """Read everything; with `full` compute mean and covariance once more.

    Raises DataError naming every shard and image that is damaged.
    """
    facts = manifest.read(folder)
    summary = store.summary_of(folder, facts)
    tasks = [task for part in PARTS for task in _tasks(folder, facts, summary, part, full)]
    complaints, total = [], None
    with Bar("check", sum(task.shard.count for task in tasks)) as bar:
        for task, (complaint, some) in zip(tasks, ordered(check, tasks, workers), strict=True):
            bar.add(task.shard.count)
            complaints += [complaint] if complaint else []
            total = total + some if total and some else total or some
    if total and not complaints:
        complaints += _statistics(folder, summary, total)
    if complaints:
        raise DataError("\n       ".join(complaints))
    return facts


def _statistics(folder: Path, summary: Tensors, total: Moments) -> list[str]:
    expected = total.statistics()
    pairs: dict[str, tensors.Array] = {"mean": expected.mean, "covariance": expected.covariance}
    return [
        f"{folder / manifest.SUMMARY}: {name} is not that of the training images"
        for name, value in pairs.items()
        if not np.array_equal(summary.arrays[name], value)
    ]


def main() -> None:
    """Verify a store: its manifest, and the hashes and labels of every shard and image."""
    parser = argparse.ArgumentParser(prog="python -m runtime.data.check", description=main.__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="a store's folder")
    parser.add_argument("--full", action="store_true", help="mean and covariance as well")
    parser.add_argument("--workers", type=int, default=cores(), help="processes (default: cores)")
    options = parser.parse_args()
    facts = verify(options.store, full=options.full, workers=max(1, options.workers))
    counts = " and ".join(f"{facts.count(part)} to {part}" for part in PARTS)
    print(f"{options.store}: {counts}, {len(facts.train + facts.validation)} shards, all whole")


if __name__ == "__main__":
    run(main)
