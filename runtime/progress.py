"""What a command shows while it goes on, on standard error.

A terminal gets one line that changes; anything else a plain line every few seconds.
"""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runtime.log import Record

PLAIN_EVERY = 5.0  # seconds
WIDTH = 24  # letters, of a bar


class Line:
    """A line that changes, and lines above it that stay."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=4)
        self._shown = -PLAIN_EVERY

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, line: str, share: float | None = None) -> None:
        """Change the line; a `share` of 1 is drawn as a bar before it."""
        if self._console.is_terminal:
            text = Text(line, no_wrap=True, overflow="ellipsis")
            self._live.update(text if share is None else _behind_bar(text, share))
        elif time.monotonic() - self._shown >= PLAIN_EVERY:
            self._shown = time.monotonic()
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(line), soft_wrap=True)


def _behind_bar(text: Text, share: float) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=1, completed=share, width=WIDTH), text)
    return row


class Bar(Line):
    """Counts up to `total` images."""

    def __init__(self, what: str, total: int) -> None:
        super().__init__()
        self._what, self._total, self._done = what, total, 0
        self._start = self._shown = time.monotonic()

    def add(self, count: int) -> None:
        """Count more images."""
        self._done += count
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        left = round((self._total - self._done) / max(rate, 1e-9))
        self.show(
            f"{self._what} {self._done}/{self._total}  {rate:.0f} images/s  {_clock(left)} left",
            self._done / max(self._total, 1),
        )


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Progress(Line):
    """Shows the records of a run of `steps` steps in `epochs` epochs."""

    def __init__(self, steps: int, epochs: int) -> None:
        super().__init__()
        self._steps, self._epochs = steps, epochs

    def step(self, record: Record) -> None:
        """Show a step's record."""
        self.show(
            f"epoch {record['epoch']}/{self._epochs}  step {record['step']}/{self._steps}  "
            f"loss {record['loss']:.4f}  top1 {record['top1']:.1%}  "
            f"lr {record['lr']:g}  {record['images_per_second']:.1f} images/s"
        )

    def validation(self, record: Record) -> None:
        """Show a validation's record, in a line that stays."""
        self.say(
            f"epoch {record['epoch']}/{self._epochs} validation: "
            f"loss {record['validation_loss']:.4f}  top1 {record['validation_top1']:.2%}  "
            f"top5 {record['validation_top5']:.2%}"
        )
