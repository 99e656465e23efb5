"""From region programs to compiled kernels, several at a time.

Each process imports the compiler once and takes one kernel after another. The region travels as
text, the kernel comes back as bytes and small records; nothing is pickled but these.
"""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from signal import SIG_DFL, SIGINT, signal
from threading import Thread
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from codegen.cache import Cache, Compiled
from ir.command import Error
from ir.graph import Graph
from ir.text import parse

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target


Job = tuple[str, "Target"]
"""A region as text, and what to compile it for."""


def compile_all(
    regions: Mapping[str, str], target: "Target", cache: Cache | None
) -> tuple[dict[str, Compiled], int]:
    """The kernels by key, and how many the cache held. Raises Error where one cannot be made."""
    jobs = {key: (text, target) for key, text in regions.items()}
    kernels = _cached(jobs, cache)
    cached = len(kernels)
    for key, future in _compiled(jobs.keys() - kernels.keys(), jobs):
        kernels[key] = _kept(key, _result(future), cache)
    return {key: kernels[key] for key in regions}, cached


def compile_some(jobs: Mapping[str, Job], cache: Cache | None) -> dict[str, Compiled]:
    """Kernels by key, each for a target of its own; those that cannot be made are left out."""
    kernels = _cached(jobs, cache)
    for key, future in _compiled(jobs.keys() - kernels.keys(), jobs):
        if not isinstance(future.exception(), Error):
            kernels[key] = _kept(key, _result(future), cache)
    return {key: kernels[key] for key in jobs if key in kernels}


def _cached(keys: Iterable[str], cache: Cache | None) -> dict[str, Compiled]:
    found = {key: cache.get(key) if cache else None for key in keys}
    return {key: kernel for key, kernel in found.items() if kernel}


def _kept(key: str, kernel: Compiled, cache: Cache | None) -> Compiled:
    if cache:
        cache.put(key, kernel)
    return kernel


def _compiled(
    keys: Collection[str], jobs: Mapping[str, Job]
) -> "Iterator[tuple[str, Future[Compiled]]]":
    """Some of the jobs as they are done."""
    if not keys:
        return
    workers = min(len(keys), len(os.sched_getaffinity(0)))
    with (
        _progress(len(keys)) as advance,
        ProcessPoolExecutor(workers, get_context("spawn"), _follow_parent) as pool,
    ):
        ordered = sorted(keys, key=lambda key: (-_rank(jobs[key][0]), key))
        futures = {pool.submit(compile_one, *jobs[key]): key for key in ordered}
        try:
            for future in as_completed(futures):
                yield futures[future], future
                advance()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _rank(region: str) -> int:
    """The most axes of its values. Kernels of images take longest to compile, and a long one that
    comes last has all other processes wait."""
    return max(node.type.rank for node in parse(region).nodes)


def _result(future: "Future[Compiled]") -> Compiled:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise Error(
            "a compiling process died; expected enough memory for TVM, 1 GB each"
        ) from error


def compile_one(text: str, target: "Target") -> Compiled:
    """Compile one region program. Raises Error where it cannot be done."""
    # Only the processes that compile pay for these imports.
    from codegen import cpu
    from codegen.cuda import cubins

    ways: dict[str, Callable[[Graph, Any], Compiled]] = {
        "cpu": cpu.compiled,
        "cuda": cubins.compiled,
    }
    return ways[target.kind](parse(text), target)


def _follow_parent() -> None:
    """End at once on Ctrl-C, which reaches the whole group, and when the first process ends."""
    signal(SIGINT, SIG_DFL)
    Thread(target=_end_with, args=[parent_process()], daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, elsewhere a line for every tenth kernel."""
    if not sys.stderr.isatty():
        done = 0

        def line() -> None:
            nonlocal done
            done += 1
            if done % 10 == 0 or done == total:
                print(f"compiled {done} of {total} kernels", file=sys.stderr)

        yield line
        return
    columns = (TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
