"""From planned programs to the records of a plan (`ir/plan.py`)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from codegen.cache import Compiled
from codegen.cost.nominal import nominal_work
from codegen.layout import Blocked
from codegen.programs import Lowered
from codegen.region import Region, buffers
from codegen.steps import Call, Transfer, filled
from ir import plan
from ir.cost import flops
from ir.graph import Graph, Node
from ir.leaf import copied, logical_name, logical_shape, offset_of

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target

Steps = Sequence[Call | Transfer]


def program(
    graph: Graph, steps: Steps, keys: Mapping[Call, str], layout: Blocked, batch: int
) -> plan.Program:
    """The record of one program, given its steps and the keys of their kernels."""
    emitter = _Emitter(graph, keys, layout)
    return plan.Program(
        batch=batch,
        feeds=tuple(emitter.feed(leaf) for leaf in graph.leaves("input")),
        fills=tuple(
            plan.Fill(emitter.tensor(leaf), float(leaf.attrs["value"]))  # type: ignore[arg-type]
            for leaf in filled(graph)
        ),
        steps=tuple(emitter.step(index, step) for index, step in enumerate(steps)),
        outputs=tuple(emitter.tensor(node) for node in graph.outputs),
    )


def states(lowered: Lowered, layout: Blocked) -> tuple[plan.State, ...]:
    """Every parameter and state of the programs, once."""
    found: dict[str, plan.State] = {}
    for graph in lowered.programs.values():
        emitter = _Emitter(graph, {}, layout)
        for leaf in graph.leaves("param", "state"):
            found.setdefault(leaf.name, emitter.state(leaf))
    return tuple(found.values())


def kernel(region: Region, key: str, compiled: Compiled, target: "Target") -> plan.Kernel:
    """The record of a compiled region; its files are named after `key`."""
    arguments = tuple(
        plan.Argument(target.layout.bytes(node.type), _access(new.op), _dtype(node))
        for node, new in zip(region.arguments, buffers(region.graph), strict=True)
    )
    return plan.Kernel(
        code=_code(key, compiled),
        arguments=arguments,
        flops=sum(flops(node) for node in region.graph.nodes),
        moved=sum(argument.bytes for argument in arguments),
        work=compiled.work or nominal_work(region.graph),
        measured=compiled.tuned and target.is_measured(region.graph),
    )


def file_name(key: str, suffix: str) -> str:
    """Where a file of a kernel lies in the plan's folder: what is loaded in lib/."""
    return f"{'kernels' if suffix.endswith('.cu') else 'lib'}/{key}{suffix}"


def _code(key: str, compiled: Compiled) -> plan.Library | plan.Cubins:
    def lies(suffix: str) -> tuple[str, str]:
        return file_name(key, suffix), compiled.sha256[suffix]

    if ".so" in compiled.files:
        return plan.Library(*lies(".so"), "kernel", compiled.scratch, compiled.per_thread)
    return plan.Cubins(
        {
            arch: plan.Cubin(*lies(f".{arch}.cubin"), variant.launches, variant.scratch)
            for arch, variant in compiled.variants.items()
        }
    )


def _access(op: str) -> Literal["read", "write", "update"]:
    if op == "state":
        return "update"
    return "read" if op in ("input", "param") else "write"


class _Emitter:
    """Makes the records of one program; offsets come from its notes."""

    def __init__(self, graph: Graph, keys: Mapping[Call, str], layout: Blocked) -> None:
        self._offsets, self._keys, self._layout = graph.note("offset"), keys, layout

    def step(self, index: int, step: Call | Transfer) -> plan.Run | plan.Move:
        return self._run(index, step) if isinstance(step, Call) else self._move(index, step.node)

    def _run(self, index: int, call: Call) -> plan.Run:
        return plan.Run(
            index=index,
            device=call.device,
            kernel=self._keys[call],
            offsets=tuple(self._offsets[node] for node in call.region.arguments),
            writes=tuple(node.name for node in call.writes),
        )

    def _move(self, index: int, node: Node) -> plan.Move:
        (source,) = node.inputs
        return plan.Move(
            index=index,
            value=node.name,
            source=_device(source),
            source_offset=self._offsets[source],
            target=_device(node),
            target_offset=self._offsets[node],
            bytes=self._layout.bytes(node.type),
        )

    def tensor(self, node: Node) -> plan.Tensor:
        return plan.Tensor(
            name=node.name,
            device=_device(node),
            offset=self._offsets[node],
            bytes=self._layout.bytes(node.type),
            dtype=_dtype(node),
            layout=self._layout.record(node.type),
        )

    def feed(self, leaf: Node) -> plan.Feed:
        below = int(leaf.attrs["below"])  # type: ignore[arg-type]
        return plan.Feed(self.tensor(leaf), logical_name(leaf), below)

    def state(self, leaf: Node) -> plan.State:
        return plan.State(
            tensor=self.tensor(leaf),
            kind=leaf.op,  # type: ignore[arg-type]
            logical=logical_name(leaf),
            whole=logical_shape(leaf),
            start=offset_of(leaf),
            value=float(leaf.attrs["value"]),  # type: ignore[arg-type]
            std=float(leaf.attrs.get("std", 0.0)),  # type: ignore[arg-type]
            rate=float(leaf.attrs.get("rate", 1.0)),  # type: ignore[arg-type]
            copies=copied(leaf),
        )


def _dtype(node: Node) -> plan.DTYPES:
    return node.type.dtype.value


def _device(node: Node) -> int:
    assert node.device is not None
    return node.device.index
