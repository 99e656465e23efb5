"""Random regions of all kinds compiled into one plan: shapes that no model has."""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from random import Random

from codegen import emit
from codegen.cache import Cache, default_folder
from codegen.compile import compile_all
from codegen.folder import publish
from codegen.keys import key_of
from codegen.targets import Target
from codegen.tuning.cuda.single import only
from ir.graph import Graph
from ir.op import Fusion
from ir.ops import TABLE
from ir.printer import print_graph
from ir.type import DType
from tests.kernels import as_region, with_batch
from tests.op_cases import Case, draw_case
from tests.region_cases import draw_region
from tests.test_contractions import OPS, large, with_epilogue
from tests.test_cuda_bf16 import ROUNDED, draw_rounded
from tests.test_tensor_boxes import BOXED, draw_boxed
from tests.test_tensor_contractions import draw_large

PLAN = "cases"
DRAWS, LARGE, REGIONS = 2, 3, 30
"""Draws of every op, of every contraction with large extents, and of regions of several ops."""
BATCHES = (1, 3, 31, 32, 33, 70)
NO_IMAGES = ("concat", "slice", "unslice")
"""Ops whose axis 0 may be any axis."""


def build(path: Path, target: Target, graphs: Iterable[Graph]) -> None:
    """Write a plan that has the kernel of every graph, and a program without steps."""
    regions = {key_of(region.graph, target): region for region in map(as_region, graphs)}
    texts = {key: print_graph(region.graph) for key, region in regions.items()}
    compiled, _ = compile_all(texts, target, Cache(default_folder()))
    kernels = {k: emit.kernel(r, k, compiled[k], target) for k, r in regions.items()}
    files = {
        emit.file_name(key, suffix): content
        for key, kernel in compiled.items()
        for suffix, content in kernel.files.items()
    }
    files |= {f"kernels/{key}.ir": text.encode() for key, text in texts.items()}
    publish(only(PLAN, target, kernels), path, files)


def cases() -> Iterator[Graph]:
    """The same ones every time; the values they are run on are not."""
    for op, row in TABLE.items():
        if row.is_leaf or op == "transfer":
            continue
        for number in range(DRAWS):
            rng = Random(f"{op} {number}")
            case = _batched(draw_case(op, rng, exact=True), rng)
            yield with_epilogue(case.node, case.leaves, rng) if _anchors(op) else case.graph
        for number in range(LARGE if _anchors(op) else 0):
            rng = Random(f"large {op} {number}")
            node = large(op, rng)
            yield with_epilogue(node, node.inputs, rng)
    yield from _regions(DType.F32, REGIONS)
    yield from on_tensor_cores()
    for op in ROUNDED:
        yield draw_rounded(op, Random(f"bf16 {op}")).graph
    yield from _regions(DType.BF16, REGIONS // 2)


def on_tensor_cores() -> Iterator[Graph]:
    """Contractions in tf32 and bf16, also of what lies in boxes."""
    for op, form, number in product(OPS, ("tf32", "bf16"), range(LARGE)):
        yield draw_large(op, form, Random(f"{form} {op} {number}"))
    for (draw, op, form), number in product(BOXED, range(LARGE)):
        yield draw_boxed(draw, op, form, Random(f"boxes {form} {op} {number}"))


def _regions(dtype: DType, count: int) -> Iterator[Graph]:
    drawn = (draw_region(Random(f"region {number}"), dtype) for number in range(count))
    return (graph for graph in drawn if graph.results)


def _anchors(op: str) -> bool:
    return TABLE[op].fusion is Fusion.ANCHOR


def _batched(case: Case, rng: Random) -> Case:
    """Often another number of images; contractions have their own."""
    op, leaves = case.node.op, case.node.inputs
    if _anchors(op) or op in NO_IMAGES or not leaves[0].type.shape:
        return case
    return with_batch(case, rng.choice(BATCHES))
