"""Check a plan against the oracle, kernel by kernel: `python -m codegen.validate plan.json`.

Every step of every program runs once on random values. What it wrote is compared with NumPy in
float64, given the very operands that the kernel read, so errors do not add up. Slow for big
models: build one with a smaller batch. Exits with 5 at the first step that diverges.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.layout import layout, physical_bytes
from codegen.steps import Call, Transfer, steps
from ir.command import Error, Exit, run
from ir.cost import flops
from ir.eval import random_feeds, run_graph
from ir.graph import Graph, Node
from ir.leaf import logical_name
from ir.op import Array
from ir.plan import Plan, Program, Run, folder, read
from ir.text import read as read_graph
from runtime.device import memory, pointer
from runtime.library import Function, load
from runtime.packing import pack, unpack
from runtime.state import DTYPES, States, write_tensor

EPSILON = 2.0**-23


class Divergence(Error):
    """A kernel's result is not what its region means."""

    exit = Exit.NUMERICS


@dataclass(frozen=True)
class Check:
    """One value written by one step. `error` and `bound` are relative to the largest element."""

    kind: str
    error: float
    bound: float


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

    def call(self, step: Run) -> None:
        """Run a kernel."""
        pointers = [pointer(self.arenas[step.device], offset) for offset in step.offsets]
        self._kernels[step.kernel](self._threads, pointer(self._scratch), *pointers)


def validate(
    plan: Plan, name: str, graph: Graph, kernels: dict[str, Function], *, seed: int, threads: int
) -> Iterator[Check]:
    """Run a program step by step. Raises Divergence naming the first step that is wrong."""
    program, machine = plan.programs[name], Machine(plan, kernels, graph, threads)
    machine.feed(program, _values(graph, seed))
    for meant, step in zip(steps(graph), program.steps, strict=True):
        if isinstance(meant, Transfer):
            machine.stored(meant.node)[:] = machine.stored(meant.node.inputs[0])
        elif isinstance(step, Run):
            yield from _checked(machine, meant, step, f"{name} step {step.index}")


def _checked(machine: Machine, call: Call, step: Run, where: str) -> Iterator[Check]:
    region = call.region
    leaves = region.graph.leaves("input", "state")
    operands, results = region.arguments[: len(leaves)], region.arguments[len(leaves) :]
    feeds = {leaf.name: machine.value(x) for leaf, x in zip(leaves, operands, strict=True)}
    meant = run_graph(region.graph, feeds)
    machine.call(step)
    bound = _bound(region.graph)
    updated = [node for node in call.writes if node not in results]
    values = [*meant.outputs.values(), *meant.updates.values()]
    for node, value in zip([*results, *updated], values, strict=True):
        error = _error(machine.value(node), value)
        what = f"{where} ({step.kernel}) writes '{node.name}'"
        if not error <= bound:
            raise Divergence(
                f"{what} with a relative error of {error:.2e}, expected <= {bound:.1e}"
            )
        if node in updated and not machine.padding_is_zero(node):
            raise Divergence(f"{what} with padding that is not zero, expected zeros")
        yield Check(step.kernel.rpartition("-")[0], error, bound)


def _error(value: Array, meant: Array) -> float:
    """max |difference| / max |meant|; NaN where either is not finite."""
    if not (np.isfinite(value).all() and np.isfinite(meant).all()):
        return float("nan")
    difference = np.max(np.abs(value.astype(np.float64) - meant), initial=0.0)
    return float(difference / (np.max(np.abs(meant), initial=0.0) or 1.0))


def _bound(region: Graph) -> float:
    """8 eps sqrt(K), where K operations lead to one element; exact for integers."""
    if not all(node.type.dtype.is_float for node in region.outputs):
        return 0.0
    return 8 * EPSILON * (1 + sum(flops(n) / n.type.elements for n in region.nodes)) ** 0.5


def _values(graph: Graph, seed: int) -> dict[str, Array]:
    """Random feeds; no state is zero everywhere, so that every term of an update counts."""
    random = np.random.default_rng(seed)
    values = random_feeds(graph, seed)
    for name in {logical_name(leaf) for leaf in graph.leaves("param", "state")}:
        values[name] = values[name] + random.normal(0, 0.05, values[name].shape)
    return values


# ---------------------------------------------------------------------------- command


def main() -> None:
    """Run every step of a plan and compare it with the oracle."""
    options = _options()
    path = Path(options.plan)
    plan = read(path)
    names = [options.program] if options.program else list(plan.programs)
    kernels = load(plan, folder(path), options.threads)
    for name in names:
        if name not in plan.programs:
            raise Error(f"{path}: no program '{name}', expected one of {', '.join(plan.programs)}")
        graph = read_graph(str(folder(path) / f"{name}.ir"))
        _require_same(plan.programs[name], graph, f"{folder(path) / name}.ir")
        checks = validate(plan, name, graph, kernels, seed=options.seed, threads=options.threads)
        for line in _table(checks):
            print(f"{name:10} {line}")


def _require_same(program: Program, graph: Graph, file: str) -> None:
    """Raise Error unless a program's steps write what its text says."""
    meant = [
        (step.node.name,) if isinstance(step, Transfer) else tuple(n.name for n in step.writes)
        for step in steps(graph)
    ]
    found = [step.writes if isinstance(step, Run) else (step.value,) for step in program.steps]
    if meant != found:
        raise Error(f"{file}: is not the program of this plan, expected its {len(found)} steps")


def _table(checks: Iterator[Check]) -> Iterator[str]:
    """The worst of every kind."""
    worst: dict[str, Check] = {}
    for check in checks:
        if check.kind not in worst or check.error > worst[check.kind].error:
            worst[check.kind] = check
    for kind, check in sorted(worst.items()):
        yield f"{kind:44} error {check.error:8.2e}  bound {check.bound:8.2e}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m codegen.validate", description=main.__doc__)
    parser.add_argument("plan", metavar="PLAN", help="a plan.json")
    parser.add_argument("--program", metavar="NAME", help="only this one of its programs")
    parser.add_argument("--seed", type=_count, default=0, help="of the random values (default 0)")
    parser.add_argument("--threads", type=_count, default=1, help="of every kernel (default 1)")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no count, expected an integer >= 0")
    return int(text)


if __name__ == "__main__":
    run(main)
