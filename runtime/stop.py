"""Stopping on request: the step is finished and the state saved, unless asked twice."""

import signal
from types import FrameType, TracebackType

WATCHED = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stop:
    """While entered, the first SIGINT or SIGTERM is noted; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.reason = ""

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._note) for number in WATCHED}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.reason:
            raise KeyboardInterrupt
        self.reason = WATCHED[signal.Signals(number)]
