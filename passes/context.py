"""What a run of the passes is asked for, and where a pass says what it decided."""

import sys
from collections.abc import Callable
from dataclasses import dataclass


def to_stderr(message: str) -> None:
    """Print a remark where it does not disturb a pipe."""
    print(message, file=sys.stderr)


@dataclass(frozen=True)
class Context:
    """Options of a run. `say` gets one line for every decision worth knowing."""

    devices: int = 2
    precision: str = "fp32"
    accumulate: int = 1
    say: Callable[[str], None] = lambda message: None
