"""What a kernel is run on: random values in padded memory, poisoned where nothing may be read."""

from random import Random

import numpy as np

from codegen.layout import Blocked
from codegen.tuning.cuda.single import GUARD
from ir.eval import in_type
from ir.graph import Graph, Node
from ir.leaf import logical_name
from ir.op import Array
from ir.type import TensorType
from runtime.memory import DTYPES, decoded, encoded
from runtime.packing import pack, unpack

# ---------------------------------------------------------------------------- memory


def memory(node: Node, feeds: dict[str, Array], layout: Blocked) -> Array:
    """The bytes of an argument, with a guard behind them.

    Results begin as NaN. Padding lanes of inputs hold NaN and wild integers, those of what is
    kept zeros.
    """
    size, dtype = layout.bytes(node.type), str(node.type.dtype)
    memory = np.full(size + GUARD, 0xA5, np.uint8)
    if node.inputs:
        memory[:size] = 0xFF  # NaN, as floats
    else:
        value = in_type(feeds[logical_name(node)], node.type, np.float32).astype(DTYPES[dtype])
        packed = pack(encoded(value, dtype), layout.record(node.type))
        if node.op == "input" and node.type.shape:
            packed[_padding(node.type, layout)] = np.frombuffer(b"\xff" * 4, packed.dtype)[0]
        memory[:size] = np.frombuffer(packed.tobytes(), np.uint8)
    return aligned(memory)


def results(graph: Graph, at: dict[Node, Array], layout: Blocked) -> dict[str, Array]:
    """The outputs and the new states, by logical name, of a program that ran on such memory.

    Fails where a guard was written to, or the padding of a state is no longer zero.
    """
    for node, memory in at.items():
        assert (memory[-GUARD:] == 0xA5).all(), f"{node.name}: stored past its end"
    for pair in graph.updates:
        _require_zero_padding(pair.leaf, at[pair.leaf], layout)
    found = {node.name: _value(at[node], node.type, layout) for node in graph.outputs}
    return found | {
        logical_name(pair.leaf): _value(at[pair.leaf], pair.value.type, layout)
        for pair in graph.updates
    }


def _padding(type: TensorType, layout: Blocked) -> Array:
    padding: Array = pack(np.ones(type.shape, np.uint8), layout.record(type)) == 0
    return padding


def _require_zero_padding(node: Node, memory: Array, layout: Blocked) -> None:
    stored = decoded(memory[: layout.bytes(node.type)], str(node.type.dtype))
    if node.type.shape:
        padding = _padding(node.type, layout)
        assert not stored.reshape(padding.shape)[padding].any(), (
            f"{node.name}: its padding is no longer zero"
        )


def _value(memory: Array, type: TensorType, layout: Blocked) -> Array:
    stored = decoded(memory[: layout.bytes(type)], str(type.dtype))
    return unpack(stored, layout.record(type)).reshape(type.shape)


def aligned(array: Array) -> Array:
    """A copy at an address that kernels take."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    aligned: Array = room[start : start + array.nbytes].view(array.dtype)
    aligned[...] = array
    return aligned


# ---------------------------------------------------------------------------- values


def random_values(graph: Graph, rng: Random) -> dict[str, Array]:
    """Values for the leaves of a region, integers as their readers allow."""
    noise = np.random.default_rng(rng.getrandbits(64))
    return {
        leaf.name: _random_value(leaf, graph, noise)
        for leaf in graph.leaves("input", "state", "param")
    }


def _random_value(leaf: Node, graph: Graph, noise: np.random.Generator) -> Array:
    if leaf.type.dtype.is_float and leaf.type.rank >= 2:
        return noise.standard_normal(leaf.type.shape).astype(np.float32)
    if leaf.type.dtype.is_float:
        return noise.uniform(0.25, 1, leaf.type.shape).astype(np.float32)
    below = [_below(user, user.inputs.index(leaf)) for user in graph.uses()[leaf]]
    dtype = DTYPES[str(leaf.type.dtype)]
    return noise.integers(0, min([*below, 256]), leaf.type.shape).astype(dtype)


def _below(user: Node, place: int) -> int:
    """How large an integer may be."""
    if user.op == "crop" and place == 1:
        size = user.attrs["size"]
        assert isinstance(size, tuple)
        room = zip(user.inputs[0].type.shape[2:], size, strict=True)
        return min(whole - part for whole, part in room) + 1
    return user.inputs[0].type.shape[1] if place == 1 and user.type.rank in (0, 2) else 256
