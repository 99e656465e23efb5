"""A function applied by processes, one for each core, with the results in order."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

import numpy as np

from ir.command import Error

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2  # tasks handed out for each worker


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def ordered(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """function(task) for each task, in the order of the tasks, few of them made ahead.

    What it raises is raised here, the first in that order. Raises Error when a worker dies.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        going: deque[Future[R]] = deque()
        try:
            for task in tasks:
                going.append(pool.submit(function, task))
                if len(going) > AHEAD * workers:
                    yield going.popleft().result()
            while going:
                yield going.popleft().result()
        except BrokenProcessPool as error:
            raise Error("a worker process was ended, perhaps for lack of memory") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Ctrl-C is for the parent to answer; without it a worker would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    keep_memory()


def keep_memory() -> None:
    """Have the C library keep what is freed, up to 62 MB, for the next image.

    It does so once a block of that order was freed; else a third of the time goes to the kernel.
    """
    np.empty(31 * 2**20, np.uint8)


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)
