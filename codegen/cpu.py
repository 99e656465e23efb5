"""From a region to a shared library for CPUs: TVM's code, linked by the C compiler."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import tvm

from codegen.cache import Compiled
from codegen.cost.count import work
from codegen.kernels import build
from codegen.kernels.cpu.writer import Built
from codegen.targets import Target
from ir.command import Error
from ir.graph import Graph
from ir.printer import print_graph

C_COMPILERS = ("cc", "gcc", "clang")


def compiled(region: Graph, target: Target) -> Compiled:
    """Compile one region. Raises Error where no rule takes it, or TVM refuses the code."""
    compiler = _c_compiler()
    built = build(region, target)
    assert isinstance(built, Built)
    module = tvm.IRModule({"kernel": built.function})
    with TemporaryDirectory(prefix="tandem") as folder:
        path = Path(folder) / "kernel.so"
        try:
            executable = tvm.compile(module, target=target.tvm())
            executable.export_library(str(path), cc=compiler, workspace_dir=folder)
        except Exception as error:
            # Whatever TVM or the linker raises: the region says which kernel it was.
            text = print_graph(region)
            raise Error(f"TVM cannot compile this region: {error}\n{text}") from None
        done = work(built.function)
        return Compiled({".so": path.read_bytes()}, built.scratch, built.per_thread, work=done)


def _c_compiler() -> str:
    found = next(filter(None, map(shutil.which, C_COMPILERS)), None)
    if found is None:
        raise Error(
            f"no C compiler among {', '.join(C_COMPILERS)}; expected one, to link kernels "
            "(on Debian: apt install gcc)"
        )
    return found
