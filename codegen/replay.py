"""A plan's program on the host, one step at a time, its values at hand after each."""

import numpy as np

from codegen.layout import layout, physical_bytes
from ir.graph import Graph, Node
from ir.op import Array
from ir.plan import Move, Plan, Program, Run
from runtime.device import memory, pointer
from runtime.library import Function
from runtime.packing import pack, unpack
from runtime.state import DTYPES, States, write_tensor


class Machine:
    """A plan's kernels and arenas, for one program; its values come and go by their nodes."""

    def __init__(
        self, plan: Plan, kernels: dict[str, Function], graph: Graph, threads: int
    ) -> None:
        self._plan, self._kernels, self._threads = plan, kernels, threads
        self._offsets = graph.note("offset")
        self.arenas = [memory(device.arena) for device in plan.devices]
        for arena in self.arenas:
            arena.fill(0xFF)  # NaN: what is read before it is written shows
        scratch = max((kernel.scratch for kernel in plan.kernels.values()), default=0)
        self._scratch = memory(scratch * threads)

    def feed(self, program: Program, values: dict[str, Array]) -> None:
        """Set states, feeds and constants."""
        states = States(self._plan, self.arenas)
        for name in states.names:
            value = values.get(name, np.zeros(states.shape(name)))
            states.write(name, value.astype(states.dtype(name)))
        for feed in program.feeds:
            value = values[feed.logical].astype(DTYPES[feed.tensor.dtype])
            write_tensor(self.arenas, feed.tensor, value)
        for fill in program.fills:
            full = np.full(fill.tensor.layout.shape, fill.value, DTYPES[fill.tensor.dtype])
            write_tensor(self.arenas, fill.tensor, full)

    def stored(self, node: Node) -> Array:
        """The bytes of a value."""
        assert node.device is not None
        begin = self._offsets[node]
        return self.arenas[node.device.index][begin : begin + physical_bytes(node.type)]

    def value(self, node: Node) -> Array:
        """A copy of a value."""
        elements = self.stored(node).view(DTYPES[node.type.dtype.value])
        return unpack(elements, layout(node.type)).reshape(node.type.shape)

    def padding_is_zero(self, node: Node) -> bool:
        """Whether a value is followed by zeros in its last block of lanes."""
        packed = pack(self.value(node), layout(node.type))
        return packed.tobytes() == self.stored(node).tobytes()

    def move(self, step: Move) -> None:
        """Run a transfer."""
        source = self.arenas[step.source][step.source_offset :][: step.bytes]
        self.arenas[step.target][step.target_offset :][: step.bytes] = source

    def call(self, step: Run) -> None:
        """Run a kernel."""
        pointers = [pointer(self.arenas[step.device], offset) for offset in step.offsets]
        self._kernels[step.kernel](self._threads, pointer(self._scratch), *pointers)
