"""`runtime.train` on the oracle: a tiny network whose programs NumPy runs, nothing compiled.

`python -m tests.oracle_train PLAN.json ...` takes the options of `runtime.train`; of the plan only
`accumulate` and `batch` are read. PAUSE in the environment makes steps slow, in seconds.
"""

import json
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np

from codegen.cost.speeds import GUESSES
from frontend.dsl import Model
from frontend.layers import classify, dense, dropout, flatten, images, relu
from ir import plan as plans
from ir.command import run
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.leaf import logical_name
from ir.op import Array
from ir.plan import Device, Feed, Layout, Move, Plan, Program, State, Tensor
from passes.context import Context
from passes.pipeline import run_passes
from runtime import train
from runtime.executor import Event, Outputs
from runtime.fit import Need

FRONT = ("split", "place", "transfer")
EVALUATE = ("evaluate", "simplify")
WHOLE = {"train": ("grad", "sgd"), "evaluate": EVALUATE}
SUMMED = {
    "accumulate": ("grad", "accumulate"),
    "apply": ("grad", "apply"),
    "evaluate": EVALUATE,
}
DTYPES = {"f32": np.float32, "u8": np.uint8, "i32": np.int32, "u32": np.uint32}


def tiny(batch: int) -> Graph:
    """Crops of 8x8 from 9x9, a hidden layer with dropout, ten classes."""
    model = Model("tiny", batch)
    x = flatten(images(model, 8, 9, gain=True), "flat")
    x = dropout(relu(dense(x, "hidden", 16, std=0.005), "active"), "kept", 0.2)
    return model.finish(*classify(dense(x, "told", 10, std=0.1)))


# ---------------------------------------------------------------------------- plan


@lru_cache
def programs(accumulate: int, batch: int) -> dict[str, Graph]:
    """The programs of a plan for one device."""
    context = Context(1, "fp32", accumulate, lambda line: None)
    lists = WHOLE if accumulate == 1 else SUMMED
    return {name: run_passes(tiny(batch), (*FRONT, *rest), context) for name, rest in lists.items()}


def plan_of(graphs: dict[str, Graph], accumulate: int, batch: int) -> Plan:
    """A plan that has every record but kernels."""
    leaves = {leaf.name: leaf for g in graphs.values() for leaf in g.leaves("param", "state")}
    return Plan(
        version=plans.VERSION,
        predicted=GUESSES["cpu"],
        name="tiny",
        target={},
        versions={},
        binding=("cpu:0",),
        accumulate=accumulate,
        precision="fp32",
        library={},
        devices=(Device(arena=4096, lower_bound=4096),),
        kernels={},
        states=tuple(map(_state, leaves.values())),
        programs={name: _program(graph, batch) for name, graph in graphs.items()},
    )


def _program(graph: Graph, batch: int) -> Program:
    feeds = (Feed(_tensor(n), logical_name(n), _int(n, "below")) for n in graph.leaves("input"))
    outputs = tuple(map(_tensor, graph.outputs))
    return Program(batch=batch, feeds=tuple(feeds), fills=(), steps=(), outputs=outputs)


def _state(leaf: Node) -> State:
    return State(
        tensor=_tensor(leaf),
        kind="param" if leaf.op == "param" else "state",
        logical=logical_name(leaf),
        whole=leaf.type.shape,
        start=(0,) * leaf.type.rank,
        value=_float(leaf, "value", 0.0),
        std=_float(leaf, "std", 0.0),
        rate=_float(leaf, "rate", 1.0),
        copies="",
    )


def _tensor(node: Node) -> Tensor:
    shape = node.type.shape
    layout = Layout(shape=shape, padded=shape, splits=(), order=tuple(range(len(shape))))
    dtype = node.type.dtype.value
    return Tensor(name=node.name, device=0, offset=0, bytes=64, dtype=dtype, layout=layout)  # type: ignore[arg-type]


def _float(node: Node, attr: str, default: float) -> float:
    value = node.attrs.get(attr, default)
    assert isinstance(value, float)
    return value


def _int(node: Node, attr: str) -> int:
    value = node.attrs[attr]
    assert isinstance(value, int)
    return value


# ---------------------------------------------------------------------------- executor


class States:
    """Logical tensors, by name."""

    def __init__(self, plan: Plan) -> None:
        self._states = {state.logical: state for state in plan.states}
        self.values = {name: np.zeros(s.whole, np.float32) for name, s in self._states.items()}
        self.names = tuple(sorted(self.values))
        self.parameters = frozenset(n for n, s in self._states.items() if s.kind == "param")

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def dtype(self, name: str) -> np.dtype[np.generic]:
        return self.values[name].dtype

    def read(self, name: str) -> Array:
        return self.values[name].copy()

    def write(self, name: str, value: Array) -> None:
        self.values[name] = value.astype(np.float32)

    def initialise(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        for name in self.names:
            s = self._states[name]
            noise = s.std * random.standard_normal(s.whole) if s.std else 0.0
            self.write(name, np.full(s.whole, s.value) + noise)


class OracleExecutor:
    """The interface of `runtime.executor.Executor`, on the oracle."""

    ahead = 0
    needs: tuple[Need, ...] = ()

    def __init__(
        self, plan: Plan, directory: Path, *, binding: str | None, threads: int | None
    ) -> None:
        batch = next(iter(plan.programs.values())).batch
        self.plan, self.states = plan, States(plan)
        self._graphs = programs(plan.accumulate, batch)
        self._fed: dict[str, dict[str, Array]] = {name: {} for name in plan.programs}

    def __enter__(self) -> "OracleExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pack(self, program: str, name: str, value: Array) -> Array:
        (feed,) = (f for f in self.plan.programs[program].feeds if f.logical == name)
        assert value.dtype == DTYPES[feed.tensor.dtype], name
        assert value.shape == feed.tensor.layout.shape, name
        return value

    def feed(self, program: str, name: str, value: Array) -> None:
        self._fed[program][name] = self.pack(program, name, value)

    def run(self, program: str, watch: Callable[[Event], None] | None = None) -> Outputs:
        start = time.perf_counter()
        time.sleep(float(os.environ.get("PAUSE", "0")))
        feeds = {**self.states.values, **self._fed[program]}
        with np.errstate(all="ignore"):
            found = run_graph(self._graphs[program], feeds, np.float32)
        for name, value in found.updates.items():
            self.states.write(name, value)
        if watch is not None:
            step = Move(
                index=0, value="all", source=0, source_offset=0, target=0, target_offset=0, bytes=0
            )
            watch(Event(device=0, step=step, start=start, end=time.perf_counter()))
        return lambda: found.outputs


def read(path: Path) -> Plan:
    """The oracle's plan for what a file says."""
    facts = json.loads(path.read_text("utf-8"))
    graphs = programs(facts["accumulate"], facts["batch"])
    return plan_of(graphs, facts["accumulate"], facts["batch"])


def main() -> None:
    """`runtime.train` with the oracle in the place of plans and kernels."""
    executor = mock.patch.object(train, "open_executor", OracleExecutor)
    with mock.patch.object(plans, "read", read), executor:
        train.main()


if __name__ == "__main__":
    run(main)
