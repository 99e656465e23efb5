"""A plan's program on an executor, one step at a time, its values at hand after each."""

import numpy as np

from codegen.layout import layout_of
from ir.graph import Graph, Node
from ir.op import Array
from runtime import binding
from runtime.executor import Executor
from runtime.memory import DTYPES, Bytes, as_bytes, decoded, encoded
from runtime.packing import pack, unpack

CHUNK = 1 << 24
"""Bytes poisoned at a time."""


class Replay:
    """The steps of one program; its values come and go by their nodes."""

    def __init__(self, executor: Executor, name: str, graph: Graph) -> None:
        self._executor, self._name = executor, name
        self._offsets = graph.note("offset")
        self.layout = layout_of(binding.kind(executor.plan))

    def begin(self, values: dict[str, Array]) -> None:
        """Set states, feeds and constants; all else is NaN, so what is read too early shows."""
        executor, states = self._executor, self._executor.states
        for memory, device in zip(executor.memories, executor.plan.devices, strict=True):
            for offset in range(0, device.arena, CHUNK):
                size = min(CHUNK, device.arena - offset)
                memory.write(offset, np.full(size, 0xFF, np.uint8))
        for name in states.names:
            value = values.get(name, np.zeros(states.shape(name)))
            states.write(name, value.astype(states.dtype(name)))
        for feed in executor.plan.programs[self._name].feeds:
            value = values[feed.logical].astype(DTYPES[feed.tensor.dtype])
            executor.feed(self._name, feed.logical, value)
        executor.begin(self._name)

    def step(self, index: int) -> None:
        """Do one step, after all those before it."""
        self._executor.step(self._name, index)

    def stored(self, node: Node) -> Bytes:
        """The bytes of a value."""
        assert node.device is not None
        memory = self._executor.memories[node.device.index]
        return memory.read(self._offsets[node], self.layout.bytes(node.type))

    def value(self, node: Node) -> Array:
        """A copy of a value."""
        numbers = decoded(self.stored(node), node.type.dtype.value)
        return unpack(numbers, self.layout.record(node.type)).reshape(node.type.shape)

    def store(self, node: Node, value: Array) -> None:
        """Put another value in the place of one."""
        assert node.device is not None
        packed = as_bytes(self._packed(node, value))
        self._executor.memories[node.device.index].write(self._offsets[node], packed)

    def padding_is_zero(self, node: Node) -> bool:
        """Whether a value is followed by zeros in its last block of lanes."""
        return self._packed(node, self.value(node)).tobytes() == self.stored(node).tobytes()

    def _packed(self, node: Node, value: Array) -> Array:
        return pack(encoded(value, node.type.dtype.value), self.layout.record(node.type))
