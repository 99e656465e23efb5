"""TVM's CUDA C as it is compiled and kept beside a plan.

TVM begins with a header that includes CUDA's own; kernels need six of its names, defined here so
that nvcc, nvrtc and the emulator's C++ compiler take one text that includes nothing.
"""

import re
from dataclasses import dataclass

PROLOGUE = """\
#define uint unsigned int
#define uchar unsigned char
#define int64_t long long
#define uint64_t unsigned long long
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)

"""

_DECLARATION = re.compile(r'^extern "C" __global__ [^\n{]*;\n', re.MULTILINE)
_FUNCTION = re.compile(
    r'^extern "C" __global__ void (?:__launch_bounds__\(\d+(?:, 1)?\) )?(\w+)\(([^)]*)\) {',
    re.MULTILINE,
)


@dataclass(frozen=True)
class Function:
    """A function that can be launched, and the names of its parameters."""

    symbol: str
    parameters: tuple[str, ...]


def shortened(text: str, *, noalias: bool) -> str:
    """TVM's text without its header and without declarations.

    TVM always promises by `__restrict__` that no two arguments share memory; only `noalias` keeps
    the promise in the text.
    """
    start = text.find('extern "C" __global__')
    code = _DECLARATION.sub("", text[start:]) if start >= 0 else ""
    return PROLOGUE + (code if noalias else code.replace(" __restrict__", "")).strip() + "\n"


def roomy(text: str) -> str:
    """The same, with all registers for one block of threads where that is what it takes.

    The compiler stops at fewer, so that more blocks run at a time, even if values then spill.
    """
    return re.sub(r"__launch_bounds__\((\d+)\)", r"__launch_bounds__(\1, 1)", text)


def functions(text: str) -> dict[str, Function]:
    """What can be launched, by its symbol."""
    found = (Function(symbol, _names(list_)) for symbol, list_ in _FUNCTION.findall(text))
    return {function.symbol: function for function in found}


def _names(parameters: str) -> tuple[str, ...]:
    return tuple(each.split()[-1].lstrip("*") for each in parameters.split(",") if each.strip())
