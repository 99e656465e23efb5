"""Which compiler of CUDA C this machine has."""

import os
from functools import cache

from codegen.cuda import nvcc, nvrtc
from codegen.cuda.compiler import Binary, Compiler
from ir.command import Error

__all__ = ["VARIABLE", "Binary", "Compiler", "find"]

VARIABLE = "TANDEM_CUDA_COMPILER"
_FIND = {"nvrtc": nvrtc.find, "nvcc": nvcc.find}


@cache
def find() -> Compiler:
    """The one that $TANDEM_CUDA_COMPILER names, else nvrtc, else nvcc; no GPU is needed.

    The library takes a tenth of the time, and the locked one is the same on every machine.

    Looked for once. Raises Error, which says how to get one, where there is none.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen and chosen not in _FIND:
        raise Error(f"{VARIABLE} is '{chosen}', expected {' or '.join(_FIND)}")
    reasons = []
    for name in [chosen] if chosen else _FIND:
        try:
            return _FIND[name]()
        except Error as error:
            reasons.append(f"{name}: {error}")
    raise Error("; ".join(["no compiler of CUDA C", *reasons]))
