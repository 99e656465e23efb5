"""What a run of the passes is asked for, and where a pass says what it decided."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Of contractions: `passes/precision.py`."""

MOST = 64
"""Devices, or batches to an update, that a command takes."""


def to_stderr(message: str) -> None:
    """Print a remark where it does not disturb a pipe."""
    print(message, file=sys.stderr)


def positive(text: str) -> int:
    """A count on the command line. Raises ArgumentTypeError saying what was expected."""
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise ArgumentTypeError(f"{text!r} is no count, expected an integer from 1 to {MOST}")
    return int(text)


@dataclass(frozen=True)
class Context:
    """Options of a run. `say` gets one line for every decision worth knowing."""

    devices: int = 2
    precision: str = "fp32"
    accumulate: int = 1
    say: Callable[[str], None] = lambda message: None
