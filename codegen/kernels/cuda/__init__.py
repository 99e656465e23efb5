"""Kernels for NVIDIA GPUs: warps of 32 lanes, launches of blocks. One file per family of ops."""

from collections.abc import Callable

from codegen.kernels.cuda.conv import conv, conv_dx
from codegen.kernels.cuda.conv_dw import conv_dw
from codegen.kernels.cuda.dense import dense, dense_dw, dense_dx
from codegen.kernels.cuda.local import local, local_dw, local_dx
from codegen.kernels.cuda.staged import staged
from codegen.kernels.cuda.writer import Built
from codegen.targets import Cuda
from ir.graph import Graph

FAMILIES: dict[str, Callable[[Graph, Cuda], Built | str]] = {
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
