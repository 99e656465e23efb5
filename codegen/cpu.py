"""From a region to a shared library for CPUs: TVM's code, linked by the C compiler."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tvm

from codegen.cache import Compiled
from codegen.cost.count import work
from codegen.kernels import build
from codegen.kernels.cpu.writer import Built
from codegen.targets import Cpu
from ir.command import Error
from ir.graph import Graph
from ir.printer import print_graph

C_COMPILERS = ("cc", "gcc", "clang")

LEFT_OUT = ("s_tir.CompactBufferAllocation", "s_tir.HoistIfThenElse")
"""Passes of TVM's that find nothing to do in our kernels, for more than a third of its time."""


def compiled(region: Graph, target: Cpu) -> Compiled:
    """Compile one region. Raises Error where no rule takes it, or TVM refuses the code."""
    compiler = _c_compiler()
    built = build(region, target)
    assert isinstance(built, Built)
    with TemporaryDirectory(prefix="tandem") as folder:
        path = Path(folder) / "kernel.so"
        try:
            machine_code(built.function, target).export_library(
                str(path), cc=compiler, workspace_dir=folder
            )
        except Exception as error:
            # Whatever TVM or the linker raises: the region says which kernel it was.
            text = print_graph(region)
            raise Error(f"TVM cannot compile this region: {error}\n{text}") from None
        done = work(built.function)
        return Compiled({".so": path.read_bytes()}, built.scratch, built.per_thread, work=done)


def machine_code(function: Any, target: Cpu) -> tvm.runtime.Executable:
    """What TVM and LLVM make of a kernel's function, named `kernel`."""
    with tvm.transform.PassContext(disabled_pass=LEFT_OUT):
        return tvm.compile(tvm.IRModule({"kernel": function}), target=target.tvm())


def _c_compiler() -> str:
    found = next(filter(None, map(shutil.which, C_COMPILERS)), None)
    if found is None:
        raise Error(
            f"no C compiler among {', '.join(C_COMPILERS)}; expected one, to link kernels "
            "(on Debian: apt install gcc)"
        )
    return found
