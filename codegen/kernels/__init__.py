"""The kernels: how a region becomes TVM code.

What an element is follows from rules that all devices share (`pointwise`, `math`, `philox`); loops,
tiles and memory are each device's own (`cpu`, `cuda`).
"""

from typing import Any

from codegen.kernels import cpu, cuda
from codegen.kernels.cpu.writer import Built as CpuBuilt
from codegen.kernels.cuda.writer import Built as CudaBuilt
from codegen.targets import Target
from ir.command import Error
from ir.graph import Graph

FAMILIES: dict[str, dict[str, Any]] = {"cpu": cpu.FAMILIES, "cuda": cuda.FAMILIES}
"""By kind of device."""

Built = CpuBuilt | CudaBuilt


def build(region: Graph, target: Target) -> Built:
    """The kernel of a region. Raises Error with every family's reason if none takes it."""
    reasons, target = [], target.tuned(region)
    for name, family in FAMILIES[target.kind].items():
        built: Built | str = family(region, target)
        if not isinstance(built, str):
            return built
        reasons.append(f"{name}: {built}")
    ops = ", ".join(node.op for node in region.nodes if node.inputs)
    raise Error(f"no kernel for a region of {ops} on {target.kind} ({'; '.join(reasons)})")
