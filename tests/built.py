"""Plans of small networks, built once per session by the commands that a user types."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path

from tests import mode
from tests.commands import ROOT, Finished
from tests.plans import new_folder

SMALL = ("--batch", "20", "--width", "0.125", "--image", "64", "--classes", "10")
"""Of AlexNet; 20 images leave lanes of their second block of 16 empty."""

TWO, ONE = "cpu:0,cpu:1", "cpu:0"


@lru_cache
def built(
    network: tuple[str, ...] = SMALL, devices: str = TWO, options: tuple[str, ...] | None = None
) -> Path:
    """The folder where `frontend.alexnet | codegen.build` was run, with `network.ir` kept.

    `options` of the build are those of the tests' mode unless told.
    """
    folder = new_folder()
    text = finished("frontend.alexnet", *network, cwd=folder).out
    (folder / "network.ir").write_text(text)
    words = ("--devices", devices, *(mode.options() if options is None else options))
    finished("codegen.build", *words, given=text, cwd=folder)
    return folder


def finished(module: str, *arguments: str, cwd: Path, given: str = "") -> Finished:
    """Run `python -m MODULE` in a folder; it must succeed. Kernels are kept for all such runs."""
    kernels = os.environ["TANDEM_TEST_KERNELS"]
    with _turn(kernels) if module == "codegen.build" else nullcontext():
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            input=given,
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TANDEM_CACHE": kernels},
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return Finished(done.returncode, done.stdout, done.stderr)


@contextmanager
def _turn(folder: str) -> Iterator[None]:
    """Builds take turns: the next one finds what the one before compiled."""
    with (Path(folder) / "turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
