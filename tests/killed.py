"""`tests.oracle_train`, killed at its N-th moment as by `kill -9`: `python -m tests.killed N ...`.

Moments are the runs of a program, the tensors of a checkpoint as it is written, the records of the
log, and the operations on files. With N = 0 nothing is killed, and their kinds are printed.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from ir.command import run
from runtime.log import Log
from tests import oracle_train
from tests.oracle_train import OracleExecutor, States

FILES = {"os.rename", "os.link", "os.remove"}

FATAL = int(sys.argv.pop(1))
MOMENTS: list[str] = []


def moment(kind: str) -> None:
    MOMENTS.append(kind)
    if len(MOMENTS) == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)


def counted(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        moment(kind)
        return call(*arguments, **named)

    return counting


def main() -> None:
    """Train."""
    sys.addaudithook(lambda event, arguments: moment(event) if event in FILES else None)
    with (
        mock.patch.object(OracleExecutor, "run", counted("step", OracleExecutor.run)),
        mock.patch.object(States, "read", counted("tensor", States.read)),
        mock.patch.object(Log, "add", counted("log", Log.add)),
    ):
        oracle_train.main()
    print(json.dumps(MOMENTS))


if __name__ == "__main__":
    run(main)
