"""`runtime.train`, which then prints its resident size, in pages, after each step."""

import json
from pathlib import Path
from unittest import mock

from ir.command import run
from runtime import session, train
from runtime.log import Record
from runtime.trainer import Trainer

PAGES: list[int] = []


class Measured(Trainer):
    """Takes note of the process's size after each step."""

    def finish(self) -> Record:
        record = super().finish()
        PAGES.append(int(Path("/proc/self/statm").read_text("ascii").split()[1]))
        return record


def main() -> None:
    """Train as the options say; the last line is a list of pages."""
    with mock.patch.object(session, "Trainer", Measured):
        train.main()
    print(json.dumps(PAGES))


if __name__ == "__main__":
    run(main)
