"""Plans for GPUs without compiled kernels: what each region means is computed with NumPy."""

from collections.abc import Callable

import numpy as np

from codegen.assemble import Assembled
from codegen.cuda.emulated import EmulatedExecutor
from codegen.layout import layout_of
from codegen.region import buffers, operands
from codegen.tolerance import meant
from ir.graph import Graph, Node
from ir.op import Array
from ir.plan import Run
from ir.text import parse
from runtime.binding import kind
from runtime.cpu.memory import Arena
from runtime.executor import Executor
from runtime.memory import as_bytes, decoded, encoded
from runtime.packing import pack, unpack

Kernel = Callable[[Graph, dict[str, Array]], dict[str, Array]]
"""From a region and its operands to its results, all by name."""


def single(region: Graph, operands: dict[str, Array]) -> dict[str, Array]:
    """The oracle in float32, as kernels compute."""
    return meant(region, operands, np.float32)


class OracleKernels(EmulatedExecutor):
    """Runs what was assembled; `kernel` computes each region."""

    def __init__(self, assembled: Assembled, kernel: Kernel = single) -> None:
        plan = assembled.plan
        Executor.__init__(self, plan, [Arena(device.arena) for device in plan.devices], ())
        self._scratch, self._kernel = Arena(plan.scratch()), kernel
        self._layout = layout_of(kind(plan))
        self._regions = {
            name: parse(assembled.files[f"kernels/{name}.ir"].decode()) for name in plan.kernels
        }

    def _launch(self, step: Run) -> None:
        region = self._regions[step.kernel]
        places = dict(zip(buffers(region), step.offsets, strict=True))
        fed = {x.name: self._value(step.device, places[x], x) for x in operands(region)}
        results = self._kernel(region, fed)
        for node, place in places.items():
            if node.name in results:
                self._store(step.device, place, node, results[node.name])

    def _value(self, device: int, place: int, node: Node) -> Array:
        stored = self.memories[device].read(place, self._layout.bytes(node.type))
        elements = decoded(stored, node.type.dtype.value)
        return unpack(elements, self._layout.record(node.type)).reshape(node.type.shape)

    def _store(self, device: int, place: int, node: Node, value: Array) -> None:
        dtype = node.type.dtype.value
        packed = pack(encoded(value, dtype), self._layout.record(node.type))
        self.memories[device].write(place, as_bytes(packed))
