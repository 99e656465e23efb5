"""memory: programs run inside their arenas, and the arenas are small."""

import numpy as np
import pytest
from hypothesis import given

from frontend.alexnet import alexnet
from frontend.vgg import vgg
from ir.eval import Feeds, in_type, run_graph
from ir.graph import Graph, Node
from ir.leaf import logical_name, piece
from ir.op import Array, Fusion
from ir.ops import row_of
from ir.text import parse
from ir.type import Device, DType, IRError
from passes.context import Context
from passes.lifetime import Lifetimes
from passes.memory import ALIGNMENT, Arenas, plan_memory
from passes.pipeline import EVALUATE, TRAIN, run_passes
from tests.counts import cases
from tests.graphs import feeds, networks
from tests.models import SMALL, SOME

HELD = {
    DType.F32: np.float32,
    DType.BF16: np.float32,
    DType.U8: np.uint8,
    DType.I32: np.int32,
    DType.U32: np.uint32,
}


class Machine:
    """Runs a planned program region by region, every stored value in its arena."""

    def __init__(self, graph: Graph, fed: Feeds) -> None:
        self.graph, self.offsets = graph, graph.note("offset")
        ends = {d: 0 for d in graph.devices()}
        for node, offset in self.offsets.items():
            assert node.device is not None
            ends[node.device] = max(ends[node.device], offset + node.type.bytes)
        # All bytes 0xff read as NaN: whatever is read before it is written shows.
        self.arenas = {d: np.full(end, 0xFF, np.uint8) for d, end in ends.items()}
        for leaf in graph.nodes:
            if row_of(leaf).is_leaf:
                self.write(leaf, self._initial(leaf, fed))

    def _initial(self, leaf: Node, fed: Feeds) -> Array:
        if leaf.op == "constant":
            return np.full(leaf.type.shape, leaf.attrs["value"])
        return np.asarray(fed[logical_name(leaf)])[piece(leaf)]

    def view(self, node: Node) -> Array:
        assert node.device is not None
        begin = self.offsets[node]
        memory = self.arenas[node.device][begin : begin + node.type.bytes]
        return memory.view(HELD[node.type.dtype]).reshape(node.type.shape)

    def write(self, node: Node, value: Array) -> None:
        self.view(node)[...] = in_type(np.asarray(value), node.type, np.float32)

    def run(self) -> None:
        regions: dict[int, list[Node]] = {}
        for node in self.graph.nodes:
            if node in self.graph.note("region"):
                regions.setdefault(self.graph.note("region")[node], []).append(node)
        for nodes in regions.values():
            self._run_region(nodes)

    def _run_region(self, nodes: list[Node]) -> None:
        values = {o: self.view(o).copy() for n in nodes for o in n.inputs if o not in nodes}
        for node in nodes:
            reference = row_of(node).reference
            assert callable(reference)
            value = reference(*(values[o] for o in node.inputs), **node.attrs)
            values[node] = in_type(value, node.type, np.float32)
        for node in nodes:
            if node in self.offsets:
                self.write(node, values[node])


def check_arena_run(graph: Graph) -> None:
    """Not one bit may differ from a run in which every value has memory of its own."""
    fed = feeds(graph)
    fed = {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in fed.items()}
    expected = run_graph(graph, fed, np.float32)
    machine = Machine(graph, fed)
    machine.run()
    for node in graph.outputs:
        np.testing.assert_array_equal(machine.view(node), expected.outputs[node.name])
    for pair in graph.updates:
        assert machine.offsets[pair.leaf] == machine.offsets[pair.value]
        whole = expected.updates[logical_name(pair.leaf)]
        np.testing.assert_array_equal(machine.view(pair.value), whole[piece(pair.leaf)])


def check_laws(graph: Graph, plan: Arenas | None = None) -> None:
    """Aligned, at least the bound, and no two live buffers overlap."""
    plan, lifetimes = plan or plan_memory(graph), Lifetimes(graph)
    offsets = {b: plan.offsets[b.values[0]] for b in lifetimes.buffers()}
    assert all(offset % ALIGNMENT == 0 for offset in plan.offsets.values())
    assert all(plan.bytes[d] >= plan.lower_bound[d] for d in plan.bytes)
    for device in graph.devices():
        placed = [(b, o) for b, o in offsets.items() if b.device == device]
        for i, (a, at) in enumerate(placed):
            assert at + a.bytes <= plan.bytes[device]
            for b, bt in placed[:i]:
                apart_in_time = a.end < b.start or b.end < a.start
                assert apart_in_time or at + a.bytes <= bt or bt + b.bytes <= at
    check_in_place(graph, lifetimes)


def check_in_place(graph: Graph, lifetimes: Lifetimes) -> None:
    """A region overwrites only what it reads element by element."""
    region = graph.note("region")
    pointwise = (Fusion.POINTWISE, Fusion.VIEW)
    whole = {r for n, r in region.items() if row_of(n).fusion not in pointwise}
    for node in region:
        written = lifetimes.buffer.get(node)
        for reader in [n for n in region if region[n] == region[node]]:
            for operand in reader.inputs:
                if written and lifetimes.buffer.get(operand) is written and operand not in region:
                    assert row_of(reader).fusion in pointwise
                elif written and lifetimes.buffer.get(operand) is written:
                    same = region[operand] == region[node]
                    view = row_of(node).fusion is Fusion.VIEW
                    assert same or view or region[node] not in whole


@cases(full=200, sample=10)
@given(networks())
def test_generated_programs_run_in_their_arenas(graph: Graph) -> None:
    for devices in (1, 2, 4):
        for passes in (TRAIN, EVALUATE):
            program = run_passes(graph, passes, Context(devices))
            check_laws(program)
            check_arena_run(program)


@pytest.mark.parametrize("model", SOME)
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_models_run_in_their_arenas(model: str, devices: int) -> None:
    program = run_passes(SMALL[model](), TRAIN, Context(devices))
    check_laws(program)
    check_arena_run(program)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("preset", ["paper", "code145"])
def test_alexnets_arena_is_within_five_percent_of_the_bound(devices: int, preset: str) -> None:
    plan = plan_memory(run_passes(alexnet(preset=preset), TRAIN, Context(devices)))
    for device, bound in plan.lower_bound.items():
        assert bound <= plan.bytes[device] <= 1.05 * bound


def test_vggs_arena_is_within_five_percent_of_the_bound() -> None:
    plan = plan_memory(run_passes(vgg(), TRAIN, Context(1)))
    assert plan.bytes[Device(0)] <= 1.05 * plan.lower_bound[Device(0)]


def test_sizes_are_data() -> None:
    graph = run_passes(SMALL["paper"](), TRAIN, Context(2))
    logical = plan_memory(graph)
    padded = plan_memory(graph, lambda node: 2 * node.type.bytes)
    for device, bound in logical.lower_bound.items():
        assert padded.lower_bound[device] == 2 * bound


def test_memory_needs_a_schedule() -> None:
    graph = run_passes(SMALL["paper"](), TRAIN[:-2], Context(2))
    with pytest.raises(IRError, match="needs regions in their final order; run schedule first"):
        run_passes(graph, ("memory",), Context(2))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("w: f32[3,3]@dev0 = state()", "'v' cannot be updated by the leaf 'w'"),
        (
            "u: f32[3,3]@dev0 = state()\n w: f32[3,3]@dev0 = relu(v) {region=0}\n update u = w",
            "'w' is the next value of 'u' and of 'v', expected a value for each",
        ),
        (
            "w: f32[3,3]@dev0 = relu(v) {region=0}\n output v",
            "'v' cannot be updated in place by 'w': it is a result too",
        ),
        (
            "w: f32[3,3]@dev0 = dense(v, v) {region=0}",
            "'v' cannot be updated in place by 'w': 'w' still reads it",
        ),
        (
            "w: f32[3,3]@dev0 = relu(v) {region=0}\n z: f32[3,3]@dev0 = dense(v, v) {region=1}",
            "'v' cannot be updated in place by 'w': 'z' still reads it",
        ),
    ],
)
def test_an_update_that_cannot_be_done_in_place_is_refused(lines: str, message: str) -> None:
    graph = parse(f"graph g {{\n v: f32[3,3]@dev0 = state()\n {lines}\n update v = w\n}}")
    with pytest.raises(IRError, match=message):
        Lifetimes(graph.with_note("region", graph.notes.get("region", {})))


def test_a_view_of_a_parameter_is_a_copy() -> None:
    # The parameter may be overwritten while its view is still to be read.
    graph = parse(
        """graph g {
          w: f32[2,6]@dev0 = param(std=1)
          x: f32[2,6]@dev0 = input()
          v: f32[2,2,3]@dev0 = unflatten(w, shape=[2,3]) {region=0}
          u: f32[2,2,3]@dev0 = unflatten(x, shape=[2,3]) {region=1}
          z: f32[2,2,3]@dev0 = mul(u, v) {region=2}
          output z
        }"""
    )
    buffer = {node.name: Lifetimes(graph).buffer[node] for node in graph.nodes}
    places = {name: b.values[0].name for name, b in buffer.items()}
    assert places["v"] == "v"
    assert places["u"] == "x"


def test_what_a_convolution_reads_is_not_overwritten_by_its_epilogue() -> None:
    graph = parse(
        """graph g {
          x: f32[2,4,5,5] = input()
          v: f32[4,4,3,3] = param(std=1)
          w: f32[4,4,3,3] = param(std=1)
          a: f32[2,4,5,5] = conv(x, v, pad=[1,1,1,1])
          b: f32[2,4,5,5] = conv(a, w, pad=[1,1,1,1])
          c: f32[2,4,5,5] = add(b, a)
          output c
        }"""
    )
    program = run_passes(graph, EVALUATE, Context(1))
    offsets = {node.name: offset for node, offset in program.note("offset").items()}
    assert program.note("region")[program.nodes[-1]] == 1
    assert offsets["c"] != offsets["a"]
    check_laws(program)


@cases(full=100, sample=10)
@given(networks())
def test_programs_share_the_places_of_their_states(graph: Graph) -> None:
    programs = [run_passes(graph, p, Context(2)) for p in (TRAIN, EVALUATE)]
    leaves = {n.name: n for g in programs for n in g.leaves("param", "state")}
    plans = [plan_memory(g, resident=list(leaves.values())) for g in programs]
    top = {d: 0 for g in programs for d in g.devices()}
    shared: dict[str, int] = {}
    for program, plan in zip(programs, plans, strict=True):
        for leaf in program.leaves("param", "state"):
            assert leaf.device is not None
            assert shared.setdefault(leaf.name, plan.offsets[leaf]) == plan.offsets[leaf]
            top[leaf.device] = max(top[leaf.device], plan.offsets[leaf] + leaf.type.bytes)
    for program, plan in zip(programs, plans, strict=True):
        check_laws(program, plan)
        for buffer in Lifetimes(program).buffers():
            if buffer.values[0].op not in ("param", "state"):
                assert plan.offsets[buffer.values[0]] >= top[buffer.device]
