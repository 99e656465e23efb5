"""Calls of CUDA's driver, checked: what fails becomes an error for people."""

import os
from contextlib import ExitStack
from typing import Any

from ir.command import Error
from ir.optional import optional
from runtime.fit import DoesNotFit

OLDEST = 13000
"""Of CUDA's version as the driver tells it; it comes with driver 580."""

LIBRARY = "libcuda.so.1"
OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


class Calls:
    """The driver in this process, and what must be given back to it at the end."""

    def __init__(self) -> None:
        """Raises Error without the package that wraps it, without it, and for an old one."""
        self.names = optional("cuda.bindings.driver", extra="cuda")
        self._given = ExitStack()
        # Loading at the first launch would stop all streams, and may not happen in a capture.
        os.environ.setdefault("CUDA_MODULE_LOADING", "EAGER")
        found = self._version()
        if found < OLDEST:
            raise Error(
                f"the NVIDIA driver is too old: it supports CUDA {_shown(found)}, "
                f"expected {_shown(OLDEST)} or newer, as driver 580 does"
            )
        self("cuInit", 0)

    def __call__(self, name: str, *arguments: object, allowed: int = 0) -> Any:
        """What a function returns beside its status: one value, or a list of several.

        Raises Error, DoesNotFit for lack of memory, unless the status is 0 or the one allowed.
        """
        status, *values = getattr(self.names, name)(*arguments)
        if int(status) not in (0, allowed):
            raise self._refusal(name, status)
        return values[0] if len(values) == 1 else values

    def direct(self, name: str, prototype: Any, *arguments: object) -> None:
        """Call a function as C does, by a prototype of ctypes', where the package will not do.

        Raises Error unless its status is 0.
        """
        address, _ = self("cuGetProcAddress", name.encode(), OLDEST, 0)
        if status := prototype(address)(*arguments):
            raise self._refusal(name, self.names.CUresult(status))

    def later(self, name: str, *arguments: object, context: Any = None) -> None:
        """Call a function at the end, in a context; what fails then is not worth a word."""

        def call() -> None:
            if context is not None:
                self.names.cuCtxSetCurrent(context)
            getattr(self.names, name)(*arguments)

        self._given.callback(call)

    def close(self) -> None:
        """Make the calls that were put off, the last one first."""
        self._given.close()

    def _version(self) -> int:
        try:
            return int(self("cuDriverGetVersion"))
        except RuntimeError as error:
            raise Error(f"no NVIDIA driver: {LIBRARY} cannot be loaded; install one") from error

    def _refusal(self, name: str, status: Any) -> Error:
        _, short = self.names.cuGetErrorName(status)
        _, text = self.names.cuGetErrorString(status)
        kind = DoesNotFit if int(status) == OUT_OF_MEMORY else Error
        known = short and text
        return kind(f"{name}: {f'{short.decode()}: {text.decode()}' if known else int(status)}")


def _shown(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
