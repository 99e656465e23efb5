"""The compiler that is a library: of the packages of the extra `cuda`, or of a toolkit.

It needs neither a host's compiler nor headers.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from codegen.cuda.compiler import Compiler, architectures, options, refusal
from ir.command import Error
from ir.optional import optional


@dataclass(frozen=True)
class Nvrtc(Compiler):
    """nvrtc, loaded at each use."""

    def translate(self, source: str, arch: str) -> tuple[bytes, str]:
        with _compiled(source, arch) as (failed, program):
            report = _read("ProgramLog", program).decode(errors="replace").rstrip("\0")
            if failed:
                raise refusal(self.name, arch, report)
            return _read("CUBIN", program), report


def find() -> Nvrtc:
    """The library with its version. Raises Error where it or its binding is missing."""
    try:
        generations = _call("nvrtcGetSupportedArchs")
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        cure = "pip install 'tandem[cuda]'"
        raise Error(f"libnvrtc cannot be loaded: {reason}; install it: {cure}") from error
    known = architectures(generations)
    return Nvrtc(f"nvrtc {_version(known[0])}", known)


def _version(arch: str) -> str:
    """Of the compiler in full, which only its PTX says."""
    with _compiled("", arch) as (_, program):
        version = re.search(rb"V(\d+\.\d+\.\d+)", _read("PTX", program))
    if version is None:
        raise Error("libnvrtc does not say its version in PTX, expected 13.0 or newer")
    return version[1].decode()


@contextmanager
def _compiled(source: str, arch: str) -> Iterator[tuple[bool, Any]]:
    """Whether it failed, and the program, for as long as its results are read."""
    program = _call("nvrtcCreateProgram", source.encode(), b"kernel.cu", 0, [], [])
    # A binary from the driver's cache would come without a report.
    given = [option.encode() for option in (*options(arch), "--no-cache")]
    try:
        (status,) = _nvrtc().nvrtcCompileProgram(program, len(given), given)
        yield bool(status), program
    finally:
        _call("nvrtcDestroyProgram", program)


def _read(what: str, program: Any) -> bytes:
    """A result of a program: its ProgramLog, CUBIN or PTX."""
    content = bytearray(_call(f"nvrtcGet{what}Size", program))
    _call(f"nvrtcGet{what}", program, content)
    return bytes(content)


def _call(function: str, *arguments: Any) -> Any:
    """What a function of the library returns beside its status. Raises Error for a bad one."""
    status, *results = getattr(_nvrtc(), function)(*arguments)
    if status:
        raise Error(f"{function} failed: {status.name}")
    return results[0] if len(results) == 1 else results


def _nvrtc() -> Any:
    return optional("cuda.bindings.nvrtc", "cuda")
