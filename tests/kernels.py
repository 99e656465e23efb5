"""Compile a program as one kernel, run it on padded memory, compare with the oracle."""

import ctypes
import os
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

# Before TVM's thread pool first runs: as many threads as asked for, pinned to no core.
os.environ.setdefault("TVM_BIND_THREADS", "0")
os.environ.setdefault("TVM_NUM_THREADS", "4")

import tvm

from codegen.kernels import build
from codegen.layout import layout, physical_bytes
from codegen.region import Region, extract
from codegen.targets import Target, cpu
from ir.eval import in_type
from ir.graph import Graph, Node
from ir.leaf import logical_name
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from runtime.packing import pack, unpack
from tests.op_cases import Case

NUMPY = {DType.F32: np.float32, DType.U8: np.uint8, DType.I32: np.int32, DType.U32: np.uint32}
GUARD = 64
NOT_BATCHED = {("bias_add", 1), ("center", 1)}


def as_region(graph: Graph) -> Region:
    """All of a program as one region; its outputs, gradients and updates are stored."""
    updates = {pair.value: pair.leaf for pair in graph.updates}
    nodes = [node for node in graph.nodes if node.inputs]
    return extract(nodes, set(graph.results), updates)


@lru_cache(maxsize=1)
def host() -> Target:
    """This machine."""
    return cpu()


class Kernel:
    """The kernel of a program whose nodes form one region."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.region = graph, as_region(graph)
        self.built = build(self.region.graph, host())
        module = tvm.IRModule({"kernel": self.built.function})
        self._compiled = tvm.compile(module, target=host().tvm())
        self._function = self._compiled["kernel"]

    @property
    def assembly(self) -> str:
        """What TVM made of it."""
        return str(self._compiled.mod.inspect_source("asm"))

    def run(
        self, feeds: dict[str, Array], threads: int = 1, in_place: Node | None = None
    ) -> dict[str, Array]:
        """The named results.

        Padding lanes of inputs hold NaN and wild integers, those of states zeros, which must stay.
        Memory behind every argument is guarded against stray stores; scratch and results begin as
        NaN. `in_place`: the first result takes the memory of this operand.
        """
        region, graph = self.region, self.graph
        at = {node: _memory(node, feeds) for node in region.arguments}
        if in_place is not None:
            at[graph.outputs[0]] = at[in_place]
        scratch = _aligned(np.full(self.built.scratch * threads // 4 + GUARD, np.nan, np.float32))
        pointers = [_pointer(at[node]) for node in region.arguments]
        self._function(threads, _pointer(scratch), *pointers)
        for node in region.arguments:
            guard = at[node].view(np.uint8)[-GUARD:]
            assert (guard == 0xA5).all(), f"{node.name}: stored past its end"
        assert np.isnan(scratch[-GUARD:]).all(), "stored past the scratch"
        at |= {pair.value: at[pair.leaf] for pair in graph.updates}
        for pair in graph.updates:
            _require_zero_padding(pair.leaf, at[pair.leaf])
        results = {node.name: _value(at[node], node.type) for node in graph.outputs}
        return results | {
            logical_name(pair.leaf): _value(at[pair.value], pair.value.type)
            for pair in graph.updates
        }


def run_kernel(graph: Graph, feeds: dict[str, Array], threads: int = 1) -> dict[str, Array]:
    """The named results of a program whose nodes form one region."""
    return Kernel(graph).run(feeds, threads)


# ---------------------------------------------------------------------------- memory


def _memory(node: Node, feeds: dict[str, Array]) -> Array:
    size, dtype = physical_bytes(node.type), NUMPY[node.type.dtype]
    memory = np.full(size + GUARD, 0xA5, np.uint8)
    if node.inputs:
        memory[:size] = 0xFF  # NaN, as floats
    else:
        value = in_type(feeds[logical_name(node)], node.type, np.float32).astype(dtype)
        packed = pack(value, layout(node.type))
        if node.op == "input" and node.type.shape:
            packed[_padding(node.type)] = np.frombuffer(b"\xff" * 4, dtype)[0]
        memory[:size] = np.frombuffer(packed.tobytes(), np.uint8)
    return _aligned(memory)


def _padding(type: TensorType) -> Array:
    padding: Array = pack(np.ones(type.shape, np.uint8), layout(type)) == 0
    return padding


def _require_zero_padding(node: Node, memory: Array) -> None:
    stored = memory[: physical_bytes(node.type)].view(NUMPY[node.type.dtype])
    if node.type.shape:
        padding = stored.reshape(_padding(node.type).shape)[_padding(node.type)]
        assert not padding.any(), f"{node.name}: its padding is no longer zero"


def _value(memory: Array, type: TensorType) -> Array:
    stored = memory[: physical_bytes(type)].view(NUMPY[type.dtype])
    return unpack(stored, layout(type)).reshape(type.shape)


def _aligned(array: Array) -> Array:
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    aligned: Array = room[start : start + array.nbytes].view(array.dtype)
    aligned[...] = array
    return aligned


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


def random_values(graph: Graph, rng: Random) -> dict[str, Array]:
    """Values for the leaves of a region, integers as their readers allow."""
    noise = np.random.default_rng(rng.getrandbits(64))
    return {
        leaf.name: _random_value(leaf, graph, noise)
        for leaf in graph.leaves("input", "state", "param")
    }


def _random_value(leaf: Node, graph: Graph, noise: np.random.Generator) -> Array:
    if leaf.type.dtype is DType.F32 and leaf.type.rank >= 2:
        return noise.standard_normal(leaf.type.shape).astype(np.float32)
    if leaf.type.dtype is DType.F32:
        return noise.uniform(0.25, 1, leaf.type.shape).astype(np.float32)
    below = [_below(user, user.inputs.index(leaf)) for user in graph.uses()[leaf]]
    return noise.integers(0, min([*below, 256]), leaf.type.shape).astype(NUMPY[leaf.type.dtype])


def _below(user: Node, place: int) -> int:
    """How large an integer may be."""
    if user.op == "crop" and place == 1:
        size = user.attrs["size"]
        assert isinstance(size, tuple)
        room = zip(user.inputs[0].type.shape[2:], size, strict=True)
        return min(whole - part for whole, part in room) + 1
    return user.inputs[0].type.shape[1] if place == 1 and user.type.rank in (0, 2) else 256
