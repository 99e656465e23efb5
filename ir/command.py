"""What every command shares: exit codes, errors meant for people, one entry point.

Exit codes: 0 fine, 2 bad usage or bad file, 3 bad data, 4 does not fit, 5 bad numerics,
75 stopped on request with its state saved (EX_TEMPFAIL).
"""

import os
import sys
from collections.abc import Callable
from enum import IntEnum
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    USAGE = 2
    DATA = 3
    NO_FIT = 4
    NUMERICS = 5
    STOPPED = 75


class Error(Exception):
    """Something the user can mend: the message says what, where, and what was expected."""

    exit = Exit.USAGE


class DataError(Error):
    """The data, not the program or its options, is at fault."""

    exit = Exit.DATA


def read_source(path: str) -> tuple[str, str]:
    """Return (text, name shown in errors) of a file, or of standard input for `-`.

    Raises Error when it cannot be read or is not UTF-8.
    """
    name = "<stdin>" if path == "-" else path
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return raw.decode("utf-8"), name
    except OSError as error:
        raise Error(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Error(f"{name}: byte {error.start} is not UTF-8; expected IR text") from error


def run(main: Callable[[], None]) -> NoReturn:
    """Run a command's `main`; an Error becomes one message on stderr and its exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold anything
    try:
        main()
        sys.stdout.flush()
    except Error as error:
        _end(error.exit, str(error))
    except BrokenPipeError:  # the reader of our output left
        _silence()
    except OSError as error:
        _silence()
        _end(Exit.USAGE, f"{error.filename or '<stdout>'}: {error.strerror or error}")
    except MemoryError as error:
        _end(Exit.NO_FIT, f"not enough memory: {error}".removesuffix(": "))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(Exit.OK)


def _end(code: Exit, message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _silence() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit has nothing to say."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
