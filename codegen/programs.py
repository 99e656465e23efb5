"""From a network to its planned programs: passes, then arenas that all programs share.

A training step is the program `train`, or `accumulate` and `apply` where a step takes several
batches; `evaluate` classifies. A network that cannot be trained gets `evaluate` only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codegen.keep import keeping
from codegen.layout import Blocked
from codegen.steps import filled
from ir.command import Error
from ir.graph import Graph, Node
from ir.type import DType, IRError
from passes.context import Context, Precision
from passes.memory import plan_memory
from passes.pipeline import ACCUMULATE, APPLY, EVALUATE, TRAIN, Watcher, run_passes

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target

FRONT = TRAIN[: TRAIN.index("grad")]
MADE = (*FRONT, "grad")
"""Passes that all programs share."""

Watch = Callable[[str], Watcher]
"""The watcher of the passes of one program; all begin with `placed`, some with `backward` too."""


@dataclass(frozen=True)
class Lowered:
    """Programs with `region` and `offset` notes; bytes of each arena and of its lower bound."""

    programs: dict[str, Graph]
    arenas: list[int]
    lower_bounds: list[int]


def lower(
    network: Graph, context: Context, layout: Blocked, watch: Watch, keep: Sequence[str] = ()
) -> Lowered:
    """Plan all programs of a network, placed already or not, for values that lie so.

    `evaluate` also puts out the values named in `keep`. Raises Error for a network that is no
    forward program or needs more devices than there are, and for a name that no value has.
    """
    _require_forward(network, context)
    placed = keeping(network, keep)
    if not network.devices():
        placed = run_passes(placed, FRONT, context, watch("placed"))
    own = placed.replace(outputs=placed.outputs[: len(network.outputs)])
    trained, programs = _with_gradients(own, context, watch("backward")), {}
    for name, passes in _programs(context).items():
        start = trained if "grad" in passes else placed
        if start is not None:
            rest = [each for each in passes if each not in MADE and each != "memory"]
            programs[name] = run_passes(start, rest, context, watch(name))
    return _planned(programs, context.devices, layout)


def _programs(context: Context) -> dict[str, tuple[str, ...]]:
    if context.accumulate == 1:
        return {"train": TRAIN, "evaluate": EVALUATE}
    return {"accumulate": ACCUMULATE, "apply": APPLY, "evaluate": EVALUATE}


def _with_gradients(placed: Graph, context: Context, watch: Watcher) -> Graph | None:
    """The forward and backward program, or None, with the reason said, where there is none."""
    if not placed.leaves("param"):
        context.say(f"{placed.name} has no parameters: only its evaluation is built")
        return None
    try:
        return run_passes(placed, ("grad",), context, watch)
    except IRError as error:
        context.say(f"{placed.name} cannot be trained ({error}): only its evaluation is built")
        return None


def _require_forward(network: Graph, context: Context) -> None:
    if network.gradients or network.updates:
        found = "updates" if network.updates else "gradients"
        raise Error(f"{network.name} has {found} already; expected the forward program only")
    most = max((device.index for device in network.devices()), default=0)
    if most >= context.devices:
        raise Error(
            f"{network.name} uses dev{most}; expected --devices to name at least {most + 1}, "
            f"got {context.devices}"
        )
    if not network.devices() and not network.leaves("param"):
        raise Error(
            f"{network.name} has no parameters, so nothing says where it runs; expected a network "
            "with parameters, or a placed program"
        )


def require_precision(network: Graph, target: "Target", asked: Precision = "fp32") -> None:
    """Raise Error for a network that computes, or shall, in what the target does not."""
    can = f"{target.kind} devices compute in {' or '.join(target.precisions)} only"
    if asked not in target.precisions:
        raise Error(f"--precision {asked}: {can}; expected that, or other --devices")
    for node in network.nodes:
        if (own := _precision(node)) not in target.precisions:
            raise Error(f"'{node.name}' computes in {own}; {can}")


def _precision(node: Node) -> Precision:
    if node.type.dtype is DType.BF16:
        return "bf16"
    return "tf32" if node.attrs.get("math") == "tf32" else "fp32"


def _planned(programs: dict[str, Graph], devices: int, layout: Blocked) -> Lowered:
    """Note offsets; what outlasts a step lies at the bottom, in the same places in all programs."""
    resident = {
        leaf.name: leaf
        for graph in programs.values()
        for leaf in (*graph.leaves("param", "state"), *filled(graph))
    }
    arenas, bounds = [0] * devices, [0] * devices
    planned = {}
    for name, graph in programs.items():
        plan = plan_memory(graph, lambda node: layout.bytes(node.type), list(resident.values()))
        planned[name] = graph.with_note("offset", plan.offsets)
        for device, size in plan.bytes.items():
            arenas[device.index] = max(arenas[device.index], size)
        for device, size in plan.lower_bound.items():
            bounds[device.index] = max(bounds[device.index], size)
    return Lowered(planned, arenas, bounds)
