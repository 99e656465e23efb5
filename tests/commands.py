"""Commands run as a user runs them."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


def python(*arguments: str, given: str = "", cwd: Path = ROOT) -> Finished:
    """Run `python -m ...` from the checkout, with text on its standard input."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        input=given,
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def assert_refused(done: Finished, *words: str, code: int = 2) -> None:
    """Fail unless the command said why on stderr, wrote nothing and exited with the code."""
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.count("error:") == 1
    for word in words:
        assert word in done.err
