"""How far a long command has come, on standard error: a bar, or plain lines off a terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

PLAIN_EVERY = 5.0  # seconds


class Bar:
    """Counts up to `total` images."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        speed = TextColumn("{task.fields[rate]:.0f} images/s")
        self._bar = Progress(*columns, speed, TimeRemainingColumn(), console=self._console)
        self._task = self._bar.add_task(what, total=total, rate=0.0)
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> "Bar":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def add(self, count: int) -> None:
        """Count more images."""
        self._done += count
        now = time.monotonic()
        rate = self._done / max(now - self._start, 1e-9)
        self._bar.update(self._task, completed=self._done, rate=rate)
        if not self._console.is_terminal and now - self._shown >= PLAIN_EVERY:
            self._shown = now
            line = f"{self._what} {self._done}/{self._total}  {rate:.0f} images/s"
            self._console.print(line, soft_wrap=True)
