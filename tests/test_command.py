"""What every command does whatever it is: failures are one line and an exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from ir.command import Exit
from tests.commands import ROOT, python


def ended(main: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    """A command that does this, and nothing else."""
    code = f"from ir.command import *\ndef main():\n    {main}\nrun(main)"
    words: list[str] = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(words, cwd=ROOT, stderr=subprocess.PIPE, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("main", "code", "said"),
    [
        ("raise Error('what')", Exit.USAGE, "error: what\n"),
        ("raise DataError('what')", Exit.DATA, "error: what\n"),
        ("raise MemoryError", Exit.NO_FIT, "error: not enough memory\n"),
        ("raise MemoryError('4 TB')", Exit.NO_FIT, "error: not enough memory: 4 TB\n"),
        ("open('/none/x')", Exit.USAGE, "error: /none/x: No such file or directory\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_failures_are_a_line_and_a_code(main: str, code: int, said: str) -> None:
    done = ended(main, stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr.decode()) == (code, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("size", [1, 10**6], ids=["at the end", "on its way"])
def test_results_that_cannot_be_written_are_a_failure(size: int) -> None:
    with Path("/dev/full").open("wb") as full:
        done = ended(f"print('x' * {size})", stdout=full)
    said = "error: <stdout>: No space left on device\n"
    assert (done.returncode, done.stderr.decode()) == (Exit.USAGE, said)


def test_a_reader_that_leaves_is_no_failure() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        done = ended("print('x' * 10**6)", stdout=reader.stdin)
    assert (done.returncode, done.stderr) == (Exit.OK, b"")


def test_names_of_files_may_hold_anything() -> None:
    done = ended(r"print(b'caf\xe9'.decode(errors='surrogateescape'))", stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (Exit.OK, b"")
    assert done.stdout == b"caf\\udce9\n"


def test_a_program_too_large_to_be_run_does_not_fit() -> None:
    done = python("ir.eval", given="graph g {\n x: f32[1048576,1048576] = input()\n output x\n}")
    assert done.code == Exit.NO_FIT
    assert done.err.startswith("error: not enough memory")
    assert done.err.count("\n") == 1
