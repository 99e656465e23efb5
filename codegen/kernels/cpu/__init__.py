"""Kernels for CPUs: vectors of 16 lanes, tasks for the threads. One file per family of ops."""

from collections.abc import Callable

from codegen.kernels.cpu import convolution
from codegen.kernels.cpu.bias_dw import bias_dw
from codegen.kernels.cpu.dense import Dense, DenseDw, DenseDx
from codegen.kernels.cpu.images import images
from codegen.kernels.cpu.local import Local, LocalDw, LocalDx
from codegen.kernels.cpu.stages import staged
from codegen.kernels.cpu.writer import Built
from codegen.kernels.epilogue import family
from codegen.targets import Cpu
from ir.graph import Graph

CONTRACTIONS = {
    "conv": convolution.conv,
    "conv_dx": convolution.conv_dx,
    "conv_dw": convolution.conv_dw,
    "dense": Dense,
    "dense_dx": DenseDx,
    "dense_dw": DenseDw,
    "local": Local,
    "local_dx": LocalDx,
    "local_dw": LocalDw,
}
"""By the op that the region begins with."""

FAMILIES: dict[str, Callable[[Graph, Cpu], Built | str]] = {
    **{op: family(op, kernel) for op, kernel in CONTRACTIONS.items()},
    "images": images,
    "bias_dw": bias_dw,
    "stages": staged,
}
"""Each builds the kernel of a region, or says in words why it does not; the most specific first."""
