"""Compile a program as one kernel, run it on padded memory, compare with the oracle."""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

# Before TVM's thread pool first runs: as many threads as asked for, pinned to no core.
os.environ.setdefault("TVM_BIND_THREADS", "0")
os.environ.setdefault("TVM_NUM_THREADS", "4")

from codegen.cpu import machine_code
from codegen.cuda import emulator
from codegen.cuda.emulated import given
from codegen.cuda.generated import generated
from codegen.kernels import build
from codegen.kernels.cpu.writer import Built as CpuBuilt
from codegen.region import Region, extract
from codegen.targets import Cpu, Cuda, Target, cpu
from codegen.tuning.cuda.single import GUARD
from ir.graph import Graph, Node
from ir.op import Array
from ir.ops import apply
from ir.type import TensorType
from tests import mode
from tests.op_cases import Case
from tests.operands import aligned, memory, results

NOT_BATCHED = {("bias_add", 1), ("center", 1)}


def as_region(graph: Graph) -> Region:
    """All of a program as one region; its outputs, gradients and updates are stored."""
    updates = {pair.value: pair.leaf for pair in graph.updates}
    nodes = [node for node in graph.nodes if node.inputs]
    return extract(nodes, set(graph.results), updates)


@cache
def host(mcpu: str = "", mtriple: str = "") -> Cpu:
    """This machine, or another processor by LLVM's names, in the mode of the tests."""
    return cpu(mcpu, mtriple, winograd=mode.winograd())


EMULATED = Cuda(winograd="none", arches=("sm_80",), compiler="emulator")
"""A GPU's kernels, run on the host."""


Code = Callable[..., None]
"""Runs a kernel on the host: (threads, scratch, arguments, order of a GPU's threads)."""


def run_built(built: Any, region: Region, target: Target) -> Code:
    """A kernel that can be run on the host: a CPU's own, or a GPU's by its source."""
    if isinstance(target, Cuda):
        return _emulated(built, region, target)
    assert isinstance(target, Cpu)
    module = machine_code(built.function, target)
    allocation = "load ptr, ptr @__TVMBackendAllocWorkspace"
    assert allocation not in module.mod.inspect_source("ll"), "memory of its own"

    def run(threads: int, scratch: Array, at: Sequence[Array], order: str = "") -> None:
        module["kernel"](threads, _pointer(scratch), *map(_pointer, at))

    return run


def _emulated(built: Any, region: Region, target: Cuda) -> Code:
    made = generated(built, region.graph, target)
    module = emulator.compile(made.text)
    items = [node.type.dtype.bytes for node in region.arguments]

    def run(threads: int, scratch: Array, at: Sequence[Array], order: Any = "forward") -> None:
        for launch in made.launches:
            # The scratch comes last, as place -1.
            pointers = [*map(_pointer, at), _pointer(scratch)]
            taken = [given(argument, pointers, items) for argument in launch.arguments]
            module[launch.symbol](launch.grid, launch.block, taken, order, launch.dynamic)

    return run


class Kernel:
    """The kernel of a program whose nodes form one region."""

    def __init__(self, graph: Graph, target: Target | None = None) -> None:
        self.graph, self.region = graph, as_region(graph)
        self.target = target or host()
        self._layout = self.target.layout
        self.built = build(self.region.graph, self.target)

    @cached_property
    def code(self) -> Code:
        """It can be run."""
        return run_built(self.built, self.region, self.target)

    @property
    def assembly(self) -> str:
        """What LLVM made of it."""
        assert isinstance(self.target, Cpu)
        made = machine_code(self.built.function, self.target)
        return str(made.mod.inspect_source("asm"))

    def run(
        self,
        feeds: dict[str, Array],
        threads: int = 1,
        in_place: Node | None = None,
        order: str = "forward",
    ) -> dict[str, Array]:
        """The named results. `threads` is for CPUs, the `order` of threads for GPUs.

        Padding lanes of inputs hold NaN and wild integers, those of states zeros, which must stay.
        Memory behind every argument is guarded against stray stores; scratch and results begin as
        NaN. `in_place`: the first result takes the memory of this operand.
        """
        region, graph = self.region, self.graph
        at = {node: memory(node, feeds, self._layout) for node in region.arguments}
        if in_place is not None:
            at[graph.outputs[0]] = at[in_place]
        size = self.built.scratch
        size += self.built.per_thread * threads if isinstance(self.built, CpuBuilt) else 0
        scratch = aligned(np.full(size // 4 + GUARD, np.nan, np.float32))
        self.code(threads, scratch, [at[node] for node in region.arguments], order)
        assert np.isnan(scratch[-GUARD:]).all(), "stored past the scratch"
        return results(graph, at, self._layout)


def run_kernel(graph: Graph, feeds: dict[str, Array], threads: int = 1) -> dict[str, Array]:
    """The named results of a program whose nodes form one region."""
    return Kernel(graph).run(feeds, threads)


def _pointer(array: Array) -> Any:
    return ctypes.c_void_p(array.ctypes.data)


# ---------------------------------------------------------------------------- cases


def with_batch(case: Case, batch: int) -> Case:
    """The same op on another number of images (or of outputs): operands repeat along axis 0."""
    node = case.node
    feeds, leaves = {}, []
    for place, leaf in enumerate(node.inputs):
        value, type = np.asarray(case.feeds[leaf.name]), leaf.type
        if type.shape and (node.op, place) not in NOT_BATCHED:
            type = type.with_shape(batch, *type.shape[1:])
            value = np.resize(value, type.shape)
        leaves.append(_leaf(leaf, type))
        feeds[leaf.name] = value
    attrs: dict[str, Any] = dict(node.attrs)
    if attrs.get("whole"):
        attrs["whole"] = (attrs["offset"][0] + batch, *attrs["whole"][1:])
    return Case(apply(node.op, *leaves, name=node.name, **attrs), tuple(leaves), feeds)


def _leaf(leaf: Node, type: TensorType) -> Node:
    attrs: dict[str, Any] = dict(leaf.attrs)
    return apply(leaf.op, name=leaf.name, type=type, **attrs)
