"""One training step of two plans of a network from one state, taken apart.

Rounding changes gradients by little, unless it moves a unit across the edge of a ReLU, or other
pixels to the top of a window: then whole paths are open in one plan and closed in the other. Where
the input is flat, units are exactly zero and pixels exactly alike, and any rounding decides.

That this is all is shown by a third step: of the second plan, but its ReLUs and pools look at what
the first plan computed. Then gradients differ by rounding alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.errors import errors
from benchmarks.report import Facts
from codegen.region import operands
from codegen.replay import Replay
from codegen.steps import Call, steps
from ir.eval import run_graph
from ir.graph import Graph, Node, ancestors
from ir.op import Array
from ir.ops.pool import max_pool
from ir.ops.window import padded, taps
from ir.plan import folder
from ir.text import read
from runtime import checkpoint
from runtime.devices import open_executor
from runtime.executor import Executor, Outputs, Watch
from runtime.job import Job
from runtime.options import parse
from runtime.trainer import Trainer

PROGRAM = "train"
Mask = npt.NDArray[np.bool_]
"""What a ReLU or a pool lets through [taps, units]."""
Values = Mapping[str, Array]


@dataclass(frozen=True)
class Taken:
    """A step: masks by the op and the value that it looks at, what decided them, by parameter
    what was added to the velocity."""

    masks: Mapping[str, Mask]
    deciders: Values
    gradients: Values


def compared(one: Path, other: Path, state: Path, data: str) -> tuple[list[Facts], list[Facts]]:
    """What a step of either plan takes from a checkpoint on: flipped units, and gradients apart.

    Gradients are compared by what they add to the velocities, the last layer first; `alike` are
    their differences where both plans let the same through.
    """
    ours, theirs = (taken(plan, state, data, {}) for plan in (one, other))
    forced = taken(other, state, data, ours.deciders)
    flips: list[Facts] = [
        {"of": name, **counted(mask, theirs.masks[name])} for name, mask in ours.masks.items()
    ]
    gradients: list[Facts] = []
    for name, gradient in reversed(list(ours.gradients.items())):
        meant = gradient.astype(np.float64)
        largest, rms = errors(theirs.gradients[name], meant)
        alike = errors(forced.gradients[name], meant)[0]
        gradients.append({"name": name, "largest": largest, "rms": rms, "alike": alike})
    return flips, gradients


def counted(one: Mask, other: Mask) -> Facts:
    """Units in all; those whose masks differ; windows that have more maxima in one of both."""
    return {
        "units": one[0].size,
        "flipped": int((one != other).any(axis=0).sum()),
        "ties": int((one.sum(axis=0) != other.sum(axis=0)).sum()) if len(one) > 1 else 0,
    }


def taken(plan: Path, state: Path, data: str, given: Values) -> Taken:
    """A step of a plan from a checkpoint on; masks follow from the values `given`, if any."""
    job = Job(parse(None, [str(plan), "--data", data]))
    with open_executor(job.plan, folder(plan)) as executor:
        start = checkpoint.load(state, executor.states)
        watched = _Watched(executor, read(str(folder(plan) / f"{PROGRAM}.ir")), given)
        training = job.training(start.seed)
        trainer = Trainer(executor, job.schedule, training, None, start.seed, run=watched.run)
        before = _velocities(executor)
        with closing(trainer.batches(start.step, start.step + 1)) as batches:
            trainer.start(start.step, batches)
        keep = job.recipe.momentum
        after = _velocities(executor)
        added = {name: after[name] - keep * before[name] for name in after}
        return Taken(watched.masks, watched.deciders, added)


def _velocities(executor: Executor) -> dict[str, Array]:
    states = executor.states
    kept = [name for name in states.names if name not in states.parameters]
    return {name: states.read(name) for name in kept}


class _Watched:
    """Runs the training program step by step, and keeps what ReLUs and pools let through."""

    def __init__(self, executor: Executor, graph: Graph, given: Values) -> None:
        self.masks: dict[str, Mask] = {}
        self.deciders: dict[str, Array] = {}
        self._executor, self._graph, self._given = executor, graph, given
        self._replay = Replay(executor, PROGRAM, graph)

    def run(self, program: str, watch: Watch | None = None) -> Outputs:
        """In place of `Executor.run`; `watch` is told nothing."""
        executor = self._executor
        executor.begin(program)
        for index, step in enumerate(steps(self._graph, self._replay.layout)):
            if isinstance(step, Call):
                self.masks |= self._seen(step)
            executor.step(program, index)
        record = executor.plan.programs[program]
        outputs = {tensor.name: executor.read(tensor) for tensor in record.outputs}
        return lambda: outputs

    def _seen(self, call: Call) -> Iterator[tuple[str, Mask]]:
        """The masks of a region that is about to run."""
        region = call.region.graph
        given = dict(zip(operands(region), call.region.arguments, strict=False))
        for node in region.nodes:
            if node.op in MASKS:
                seen = node.inputs[0]
                name = given[seen].name if seen in given else f"what {call.writes[0].name} needs"
                yield f"{node.op} of {name}", MASKS[node.op](node, self._value(seen, region, given))

    def _value(self, node: Node, region: Graph, given: Mapping[Node, Node]) -> Array:
        """An operand of a region, or what the region computes from its operands."""
        needed = ancestors([node])
        feeds = {x.name: self._decided(given[x]) for x in needed if x in given}
        nodes = [each for each in region.nodes if each in needed]
        graph = region.replace(nodes=nodes, outputs=[node], updates=())
        return run_graph(graph, feeds, np.float32).outputs[node.name]

    def _decided(self, node: Node) -> Array:
        """A value of the program, after what is given took its place."""
        if node.name in self._given:
            self._replay.store(node, self._given[node.name])
        return self.deciders.setdefault(node.name, self._replay.value(node))


def _positive(node: Node, y: Array) -> Mask:
    return (y > 0)[None]


def _largest(node: Node, x: Array) -> Mask:
    """For each tap, the windows in which it meets a maximum that gets the gradient."""
    attrs: dict[str, tuple[int, ...]] = {
        key: node.attrs[key]  # type: ignore[misc]
        for key in ("window", "stride", "pad")
    }
    y = max_pool(x, **attrs, ties="all")
    around = padded(x, attrs["pad"], -np.inf)
    views = taps(around, attrs["window"], attrs["stride"], y.shape[2:])
    found = np.stack([view == y for _, _, view in views])
    return found if node.attrs["ties"] == "all" else found & (found.cumsum(axis=0) == 1)


MASKS = {"relu_dx": _positive, "max_pool_dx": _largest}
