"""From a network to a plan and the files beside it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from codegen import emit
from codegen.cache import Cache, Compiled
from codegen.compile import compile_all
from codegen.cost.speeds import guess
from codegen.keys import key_of, versions
from codegen.programs import Lowered, Watch, lower, require_precision
from codegen.steps import Call, steps
from ir.graph import Graph
from ir.plan import VERSION, Device, Plan, Speeds, check
from ir.printer import print_graph
from passes.context import Context, Precision, to_stderr
from passes.dump import quiet

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target

RUNTIME_LIBRARY = "lib/libtvm_runtime.so"


@dataclass(frozen=True)
class Options:
    """What to build for: the physical device of each logical one, batches per update, the
    machine, the precision of contractions; `keep` names what `evaluate` puts out beside the usual.
    Without a cache every kernel is compiled afresh; without `speeds` predictions are a guess."""

    binding: tuple[str, ...]
    target: "Target"
    accumulate: int = 1
    cache: Cache | None = None
    watch: Watch = lambda name: quiet
    keep: tuple[str, ...] = ()
    speeds: Speeds | None = None
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Assembled:
    """A plan, its files by name, and the programs it came from. `cached` counts the kernels that
    were compiled before."""

    plan: Plan
    files: dict[str, bytes]
    programs: dict[str, Graph]
    cached: int


def assemble(network: Graph, options: Options) -> Assembled:
    """Build a plan. Raises Error for a network that no plan can be made of."""
    target, accumulate = options.target, options.accumulate
    context = Context(len(options.binding), options.precision, accumulate, to_stderr)
    require_precision(network, target, options.precision)
    lowered = lower(network, context, target.layout, options.watch, options.keep)
    calls = {name: list(steps(graph, target.layout)) for name, graph in lowered.programs.items()}
    all_calls = [step for program in calls.values() for step in program if isinstance(step, Call)]
    keys = {call: key_of(call.region.graph, target) for call in all_calls}
    regions = {keys[call]: call.region for call in all_calls}
    texts = {key: print_graph(region.graph) for key, region in regions.items()}
    compiled, cached = compile_all(texts, target, options.cache)
    library = _runtime_library() if target.kind == "cpu" else {}
    plan = Plan(
        version=VERSION,
        name=network.name,
        target=target.facts(),
        versions=versions(),
        binding=options.binding,
        accumulate=accumulate,
        precision=options.precision,
        library={file: hashlib.sha256(content).hexdigest() for file, content in library.items()},
        devices=tuple(map(Device, lowered.arenas, lowered.lower_bounds)),
        kernels={
            key: emit.kernel(region, key, compiled[key], target) for key, region in regions.items()
        },
        states=emit.states(lowered, target.layout),
        programs={
            name: emit.program(graph, calls[name], keys, target.layout, _batch(network))
            for name, graph in lowered.programs.items()
        },
        predicted=options.speeds or guess(target),
    )
    check(plan, None)
    files = _files(lowered, texts, compiled)
    return Assembled(plan, library | files, lowered.programs, cached)


def _files(
    lowered: Lowered, texts: Mapping[str, str], compiled: Mapping[str, Compiled]
) -> dict[str, bytes]:
    files = {
        emit.file_name(key, suffix): content
        for key, kernel in compiled.items()
        for suffix, content in kernel.files.items()
    }
    files |= {f"kernels/{key}.ir": text.encode() for key, text in texts.items()}
    return files | {f"{n}.ir": print_graph(g).encode() for n, g in lowered.programs.items()}


def _runtime_library() -> dict[str, bytes]:
    """TVM's small runtime, which kernels for CPUs call for threads."""
    found = find_spec("tvm")
    assert found is not None
    assert found.origin is not None
    return {RUNTIME_LIBRARY: (Path(found.origin).parent / RUNTIME_LIBRARY).read_bytes()}


def _batch(network: Graph) -> int:
    """The extent of axis 0 of most that is fed."""
    extents = [leaf.type.shape[0] for leaf in network.leaves("input") if leaf.type.shape]
    return max(extents, key=extents.count, default=1)
