"""The next batch is prepared by a thread while the current one is worked on."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetched(prepare: Callable[[int], T], first: int, last: int) -> Generator[T]:
    """prepare(first), ..., prepare(last - 1), always one ahead; what it raises is raised here."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
        coming = thread.submit(prepare, first) if first < last else None
        for index in range(first, last):
            assert coming is not None
            current = coming.result()
            coming = thread.submit(prepare, index + 1) if index + 1 < last else None
            yield current
