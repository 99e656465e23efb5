"""Contestants that take turns, each a process of its own, so that a noisy moment hits all."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from ir.command import Error


class Contestant:
    """A process that does something whenever it is told to; `serve` is its other end."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """`env` is set beside what is set already."""
        self.name = name
        self.seconds: list[float] = []
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, limit: float | None = None) -> float:
        """One turn, in seconds. Raises Error when the process is gone, or takes beyond a limit."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], limit)[0]:
                raise Error(f"{self.name} did not end within {limit:.0f} s")
            return float(self._process.stdout.readline())
        except (OSError, ValueError):
            raise Error(f"{self.name} stopped; its message stands above") from None

    def leave(self) -> None:
        """Let the process end."""
        self._process.communicate()

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()


def serve(turn: Callable[[], object]) -> None:
    """Be a contestant: a turn for every line on stdin, its seconds on stdout."""
    # What a turn prints is not for the other end.
    answers, sys.stdout = sys.stdout, sys.stderr
    for _ in sys.stdin:
        begin = time.perf_counter()
        turn()
        print(time.perf_counter() - begin, file=answers, flush=True)
