"""The list of passes, and the runner that checks each one's contract.

    split → place → transfer → grad → precision → sgd → simplify → fuse → schedule → memory

trains; `evaluate` in the place of grad, and no sgd, classifies; `accumulate` and `apply` in the
place of sgd make the two programs of a step over several batches.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ir.graph import Graph
from ir.type import IRError
from ir.verify import verify
from passes.context import Context
from passes.evaluate import evaluate
from passes.fuse import fuse
from passes.grad import grad
from passes.memory import memory
from passes.place import place
from passes.precision import precision
from passes.regions import is_fused
from passes.schedule import is_scheduled, schedule
from passes.sgd import accumulate, apply_sums, sgd
from passes.simplify import simplify
from passes.split import split
from passes.transfer import transfer


@dataclass(frozen=True)
class Fact:
    """Something that may be true of a program, in words and as a test."""

    words: str
    holds: Callable[[Graph], bool]


UNPLACED = Fact("types without devices", lambda g: not g.devices())
NOTED = Fact("notes where each node goes", lambda g: bool(g.notes.get("place")))
PLACED = Fact("a device in every type", lambda g: all(n.device is not None for n in g.nodes))
GRADIENTS = Fact("gradients", lambda g: bool(g.gradients))
NO_UPDATES = Fact("a program without updates", lambda g: not g.updates)
UPDATES = Fact("updates", lambda g: bool(g.updates))
REGIONS = Fact("regions", is_fused)
SCHEDULED = Fact("regions in their final order", is_scheduled)
OFFSETS = Fact("an offset for every stored value", lambda g: bool(g.notes.get("offset")))


@dataclass(frozen=True)
class Pass:
    """A pass: what it needs of a program and what it ensures."""

    name: str
    run: Callable[[Graph, Context], Graph]
    needs: tuple[Fact, ...] = ()
    ensures: tuple[Fact, ...] = ()


PASSES = {
    each.name: each
    for each in (
        Pass("split", split, needs=(UNPLACED,), ensures=(UNPLACED,)),
        Pass("place", place, needs=(UNPLACED,), ensures=(NOTED,)),
        Pass("transfer", transfer, needs=(NOTED,), ensures=(PLACED,)),
        Pass("grad", grad, ensures=(GRADIENTS,)),
        Pass("precision", precision, needs=(NO_UPDATES,), ensures=(NO_UPDATES,)),
        Pass("sgd", sgd, needs=(GRADIENTS,), ensures=(UPDATES,)),
        Pass("accumulate", accumulate, needs=(GRADIENTS,), ensures=(UPDATES,)),
        Pass("apply", apply_sums, needs=(GRADIENTS,), ensures=(UPDATES,)),
        Pass("evaluate", evaluate),
        Pass("simplify", simplify),
        Pass("fuse", fuse, needs=(PLACED,), ensures=(REGIONS,)),
        Pass("schedule", schedule, needs=(REGIONS,), ensures=(SCHEDULED,)),
        Pass("memory", memory, needs=(SCHEDULED,), ensures=(OFFSETS,)),
    )
}

_FRONT = ("split", "place", "transfer")
_BACK = ("simplify", "fuse", "schedule", "memory")
TRAIN = (*_FRONT, "grad", "precision", "sgd", *_BACK)
EVALUATE = (*_FRONT, "evaluate", "precision", *_BACK)
ACCUMULATE = (*_FRONT, "grad", "precision", "accumulate", *_BACK)
APPLY = (*_FRONT, "grad", "precision", "apply", *_BACK)

Watcher = Callable[[int, str, Graph, float], None]
"""Called after each pass with its place, its name, its result and the seconds it took."""


def run_passes(
    graph: Graph,
    names: Sequence[str],
    context: Context,
    watch: Watcher = lambda place, name, graph, seconds: None,
) -> Graph:
    """Run passes in turn, verifying before the first and after each.

    Raises IRError naming the pass that was running, with the program around the guilty line.
    """
    verify(graph)
    for number, name in enumerate(names, start=1):
        begin = time.perf_counter()
        graph = _run(_find(name), graph, context)
        watch(number, name, graph, time.perf_counter() - begin)
    return graph


def _find(name: str) -> Pass:
    if name not in PASSES:
        raise IRError(f"unknown pass '{name}', expected some of {', '.join(PASSES)}")
    return PASSES[name]


def _run(each: Pass, graph: Graph, context: Context) -> Graph:
    for fact in each.needs:
        if not fact.holds(graph):
            providers = [p.name for p in PASSES.values() if fact in p.ensures and p is not each]
            remedy = f"; run {' or '.join(providers)} first" if providers else ""
            raise IRError(f"pass '{each.name}' needs {fact.words}{remedy}")
    try:
        result = each.run(graph, context)
        verify(result, trusted=set(graph.nodes))
    except IRError as error:
        raise IRError(f"pass '{each.name}': {error}") from error
    for fact in each.ensures:
        if not fact.holds(result):
            raise IRError(f"pass '{each.name}' left a program without {fact.words}")
    return result
