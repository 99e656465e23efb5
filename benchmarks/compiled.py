"""Kernels of this process, to be called one by one in memory like that of a plan."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm

from codegen.layout import layout_of
from codegen.targets import cpu
from ir.graph import Graph, Node
from ir.op import Array
from ir.type import DType
from runtime.cpu.library import ENVIRONMENT, configure_pool
from runtime.cpu.memory import allocate, pointer
from runtime.memory import DTYPES
from runtime.packing import pack, unpack

NOISE = np.random.default_rng(0).normal(0, 1e-3, 100_003).astype(np.float32)
"""Small, so that what is updated stays small, and its length a prime."""


def pool(threads: int) -> None:
    """Give kernels called from here so many threads; call it before the first of them."""
    os.environ.update(ENVIRONMENT, TVM_NUM_THREADS=str(threads))
    configure_pool(threads)


def compiled(function: Any) -> Any:
    """The machine code of a function of TVM's for this processor."""
    return tvm.compile(tvm.IRModule({"kernel": function}), target=cpu().tvm())["kernel"]


class Kernel:
    """A region's kernel and memory of its own, all noise at first; integers are zero.

    Call it to run it once.
    """

    def __init__(self, region: Graph, built: Any, threads: int) -> None:
        """`built` is what a kernel family makes of the region."""
        self._layout, self._threads = layout_of("cpu"), threads
        self._nodes = (*region.leaves("input", "state"), *region.outputs)
        self._memory = {node: allocate(self._layout.bytes(node.type)) for node in self._nodes}
        scratch = allocate(built.scratch + built.per_thread * threads)
        self._areas = (scratch, *self._memory.values())
        self._places = [pointer(area) for area in self._areas]
        self._code = compiled(built.function)
        self._fill()

    def __call__(self) -> object:
        return self._code(self._threads, *self._places)

    def feed(self, values: Mapping[str, Array]) -> None:
        """Set operands by their names."""
        for node in self._nodes:
            if node.name in values:
                packed = pack(values[node.name], self._layout.record(node.type))
                self._memory[node][:] = np.frombuffer(packed.tobytes(), np.uint8)

    def value(self, node: Node) -> Array:
        """A copy of an operand or a result."""
        stored = self._memory[node].view(DTYPES[node.type.dtype.value])
        return unpack(stored, self._layout.record(node.type)).reshape(node.type.shape)

    def _fill(self) -> None:
        for node, memory in self._memory.items():
            if node.type.dtype is DType.F32:
                floats = memory.view(np.float32)
                floats[:] = np.resize(NOISE, floats.shape)
