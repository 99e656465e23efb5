"""The kernels: how a region becomes TVM code. One file per family of ops.

`build` asks each family in `FAMILIES` whether it takes the region, the most specific first.
"""

from collections.abc import Callable

from codegen.kernels.conv import conv, conv_dx
from codegen.kernels.conv_dw import conv_dw
from codegen.kernels.dense import dense, dense_dw, dense_dx
from codegen.kernels.local import local, local_dw, local_dx
from codegen.kernels.stages import staged
from codegen.kernels.writer import Built
from codegen.targets import Target
from ir.command import Error
from ir.graph import Graph

Family = Callable[[Graph, Target], Built | str]
"""Builds the kernel of a region, or says in words why it does not."""

FAMILIES: dict[str, Family] = {
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


def build(region: Graph, target: Target) -> Built:
    """The kernel of a region. Raises Error with every family's reason if none takes it."""
    reasons = []
    for name, family in FAMILIES.items():
        built = family(region, target)
        if isinstance(built, Built):
            return built
        reasons.append(f"{name}: {built}")
    ops = ", ".join(node.op for node in region.nodes if node.inputs)
    raise Error(f"no kernel for a region of {ops} on {target.kind} ({'; '.join(reasons)})")
