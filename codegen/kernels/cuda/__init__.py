"""Kernels for NVIDIA GPUs: warps of 32 lanes, launches of blocks. One file per family of ops."""

from collections.abc import Callable

from codegen.kernels.cuda import convolution
from codegen.kernels.cuda.dense import Dense, DenseDw, DenseDx
from codegen.kernels.cuda.form import FORMS
from codegen.kernels.cuda.local import Local, LocalDw, LocalDx
from codegen.kernels.cuda.staged import staged
from codegen.kernels.cuda.writer import Built
from codegen.kernels.epilogue import family
from codegen.targets import Cuda
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

FAMILIES: dict[str, Callable[[Graph, Cuda], Built | str]] = {
    **{op: family(op, kernel, tuple(FORMS)) for op, kernel in CONTRACTIONS.items()},
    "stages": staged,
}
"""Each builds the kernel of a region, or says in words why it does not; the most specific first."""
