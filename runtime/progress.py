"""What a run shows while it goes on, on standard error.

A terminal gets one line that changes; anything else a plain line every few seconds.
"""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from runtime.log import Record

PLAIN_EVERY = 5.0  # seconds


class Progress:
    """Shows the records of a run of `steps` steps in `epochs` epochs."""

    def __init__(self, steps: int, epochs: int) -> None:
        self._steps, self._epochs = steps, epochs
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=4)
        self._shown = -PLAIN_EVERY

    def __enter__(self) -> "Progress":
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

    def step(self, record: Record) -> None:
        """Show a step's record."""
        line = self._step_line(record)
        if self._console.is_terminal:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"))
        elif time.monotonic() - self._shown >= PLAIN_EVERY:
            self._shown = time.monotonic()
            self.say(line)

    def validation(self, record: Record) -> None:
        """Show a validation's record, in a line that stays."""
        self.say(
            f"epoch {record['epoch']}/{self._epochs} validation: "
            f"loss {record['validation_loss']:.4f}  top1 {record['validation_top1']:.2%}  "
            f"top5 {record['validation_top5']:.2%}"
        )

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(line), soft_wrap=True)

    def _step_line(self, record: Record) -> str:
        return (
            f"epoch {record['epoch']}/{self._epochs}  step {record['step']}/{self._steps}  "
            f"loss {record['loss']:.4f}  top1 {record['top1']:.1%}  "
            f"lr {record['lr']:g}  {record['images_per_second']:.1f} images/s"
        )
