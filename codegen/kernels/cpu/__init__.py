"""Kernels for CPUs: vectors of 16 lanes, tasks for the threads. One file per family of ops."""

from collections.abc import Callable

from codegen.kernels.cpu.conv import conv, conv_dx
from codegen.kernels.cpu.conv_dw import conv_dw
from codegen.kernels.cpu.dense import dense, dense_dw, dense_dx
from codegen.kernels.cpu.local import local, local_dw, local_dx
from codegen.kernels.cpu.stages import staged
from codegen.kernels.cpu.writer import Built
from codegen.targets import Cpu
from ir.graph import Graph

FAMILIES: dict[str, Callable[[Graph, Cpu], Built | str]] = {
    "conv": conv,
    "conv_dx": conv_dx,
    "conv_dw": conv_dw,
    "dense": dense,
    "dense_dx": dense_dx,
    "dense_dw": dense_dw,
    "local": local,
    "local_dx": local_dx,
    "local_dw": local_dw,
    "stages": staged,
}
"""Each builds the kernel of a region, or says in words why it does not; the most specific first."""
