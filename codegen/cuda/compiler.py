"""What compilers of CUDA C have in common: their options, the binary, the report on it.

A source that includes no header and spells types of a fixed width with typedefs of its own needs
nothing but the compiler.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from codegen.cuda.source import functions
from ir.command import Error

_REPORT = re.compile(
    r"Compiling entry function '(\w+)' for '\w+'"
    r"[^']*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r"[^']*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?"
)
_LINES_SHOWN = 6


@dataclass(frozen=True)
class Resources:
    """What one function takes: registers and bytes of stack of a thread, shared bytes of a block.

    `spills` is how many bytes its instructions write to and read from spilled registers.
    """

    registers: int
    shared: int
    stack: int
    spills: int


@dataclass(frozen=True)
class Binary:
    """Machine code for one architecture, an ELF file, and its functions by their symbols."""

    cubin: bytes
    functions: dict[str, Resources]


@dataclass(frozen=True)
class Compiler:
    """A compiler with its version, and the architectures that it knows, such as sm_90a."""

    name: str
    arches: tuple[str, ...]

    def compile(self, source: str, arch: str) -> Binary:
        """The binary of a source whose kernels are extern "C"; the same for the same source.

        Raises Error for an unknown architecture, for a source that does not compile, and where
        the binary or the report lacks a kernel of the source.
        """
        if arch not in self.arches:
            known = ", ".join(self.arches)
            raise Error(f"{self.name} does not know the architecture '{arch}', expected {known}")
        cubin, report = self.translate(source, arch)
        binary = Binary(cubin, _resources(report))
        _check(binary, source, f"{self.name} for {arch}")
        return binary

    def translate(self, source: str, arch: str) -> tuple[bytes, str]:
        """The machine code and the report. Raises Error where the source does not compile."""
        raise NotImplementedError


def options(arch: str) -> tuple[str, ...]:
    """Options for accurate arithmetic, all optimisation, and a report of what functions take."""
    return (
        f"--gpu-architecture={arch}",
        "--std=c++17",
        "--fmad=true",
        "--ftz=false",
        "--prec-div=true",
        "--prec-sqrt=true",
        "--ptxas-options=-O3",
        "--ptxas-options=-v",
        # Generated code declares more than it uses; warnings would hide the errors.
        "--disable-warnings",
    )


def architectures(generations: Iterable[int]) -> tuple[str, ...]:
    """Names of generations such as 90, with their variants of one chip (a) or a family (f)."""
    return tuple(
        f"sm_{generation}{variant}"
        for generation in sorted(generations)
        for variant in _variants(generation)
    )


def _variants(generation: int) -> tuple[str, ...]:
    if generation < 90:
        return ("",)
    return ("", "a") if generation < 100 else ("", "a", "f")


def refusal(compiler: str, arch: str, message: str) -> Error:
    """A compiler's complaint, by its first lines."""
    lines = [line for line in message.splitlines() if line.strip()]
    shown = "\n".join(lines[:_LINES_SHOWN])
    return Error(f"{compiler} for {arch} refuses the source:\n{shown}")


def _resources(report: str) -> dict[str, Resources]:
    """Of each kernel, by what ptxas says of it."""
    found = {}
    for name, *numbers in _REPORT.findall(report):
        stack, stores, loads, registers, shared = (int(number or 0) for number in numbers)
        found[name] = Resources(registers, shared, stack, stores + loads)
    return found


def _check(binary: Binary, source: str, maker: str) -> None:
    if not binary.cubin.startswith(b"\x7fELF"):
        raise Error(f"{maker} made {binary.cubin[:4]!r}..., expected an ELF file")
    kernels = functions(source)
    if not kernels:
        raise Error(f"{maker}: the source has no kernel, expected one or more")
    for name in kernels:
        if f".text.{name}\0".encode() not in binary.cubin:
            raise Error(f"{maker} made a binary without the kernel {name}")
        if name not in binary.functions:
            raise Error(f"{maker} did not report what the kernel {name} takes")
