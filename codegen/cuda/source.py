"""TVM's CUDA C as it is compiled and kept beside a plan.

TVM begins with a header that includes CUDA's own; kernels need seven of its names, defined here so
that nvcc, nvrtc and the emulator's C++ compiler take one text that includes nothing. What kernels
call of `warp.h` comes with the text.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from codegen.cuda.products import group_products

PROLOGUE = """\
#define uint unsigned int
#define uchar unsigned char
#define ushort unsigned short
#define int64_t long long
#define uint64_t unsigned long long
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)

"""

MAPS = """\
struct alignas(64) CUtensorMap {
  unsigned long long opaque[16];
};

"""
"""Arrays that boxes are copied of, as the driver makes them."""

_DECLARATION = re.compile(r'^extern "C" __global__ [^\n{]*;\n', re.MULTILINE)
_FUNCTION = re.compile(
    r'^extern "C" __global__ void (?:__launch_bounds__\(\d+(?:, 1)?\) )?(\w+)\(([^)]*)\) {',
    re.MULTILINE,
)
_WARP = Path(__file__).with_name("warp.h")
_DEFINITION = re.compile(
    r"^(?://[^\n]*\n)*__device__ __forceinline__ [^(]*?(?P<name>\w+)\(.*?^}\n",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Function:
    """A function that can be launched, and the names of its parameters."""

    symbol: str
    parameters: tuple[str, ...]


def shortened(text: str, *, noalias: bool) -> str:
    """TVM's text without its header and without declarations, with the functions that it calls.

    TVM always promises by `__restrict__` that no two arguments share memory; only `noalias` keeps
    the promise in the text.
    """
    start = text.find('extern "C" __global__')
    code = _DECLARATION.sub("", text[start:]) if start >= 0 else ""
    code = (code if noalias else code.replace(" __restrict__", "")).strip() + "\n"
    # Patterns of swizzled lines repeat at such addresses.
    code = code.replace("extern __shared__ __align__(64)", "extern __shared__ __align__(1024)")
    maps = MAPS if "CUtensorMap" in code else ""
    return PROLOGUE + maps + called(code) + group_products(code) + code


def called(code: str) -> str:
    """The functions of `warp.h` that kernels call, and those that these call, in their order."""
    found = ""
    for name, text in reversed(_definitions().items()):
        if re.search(rf"\b{name}\(", found + code):
            found = f"{text}\n{found}"
    return found


@cache
def _definitions() -> dict[str, str]:
    """The functions of `warp.h` with their comments, by name; each calls earlier ones only."""
    return {match["name"]: match[0] for match in _DEFINITION.finditer(_WARP.read_text("utf-8"))}


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
