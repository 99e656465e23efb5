"""schedule: one order, whose projections meet."""

from collections.abc import Sequence

import pytest
from hypothesis import given

from frontend.alexnet import alexnet
from ir.cost import bytes_moved, flops
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.text import parse
from ir.type import Device, IRError
from passes.context import Context
from passes.lifetime import Lifetimes
from passes.pipeline import EVALUATE, TRAIN, run_passes
from passes.regions import Regions
from passes.schedule import FLOPS_PER_BYTE, is_scheduled
from tests.closeness import assert_same_results
from tests.counts import cases
from tests.graphs import feeds, networks
from tests.models import SMALL

UNTIL = TRAIN[: TRAIN.index("schedule") + 1]


def scheduled(graph: Graph, devices: int = 2) -> Graph:
    return run_passes(graph, UNTIL, Context(devices))


def rendezvous(graph: Graph) -> None:
    """Walk every device's own program; both sides of a transfer must meet. Fails on deadlock."""
    work = [node for node in graph.nodes if node in graph.note("region")]
    programs: dict[Device, list[Node]] = {
        device: [n for n in work if device in _sides(n)] for device in graph.devices()
    }
    done = 0
    while any(programs.values()):
        heads = {device: program[0] for device, program in programs.items() if program}
        ready = [n for n in heads.values() if all(heads.get(s) is n for s in _sides(n))]
        assert ready, f"each waits for another: {heads}"
        for side in _sides(ready[0]):
            programs[side].pop(0)
        done += 1
    assert done == len(work)


def _sides(node: Node) -> Sequence[Device]:
    """The devices that take part in a node."""
    assert node.device is not None
    source = node.inputs[0].device
    return [source, node.device] if node.op == "transfer" and source else [node.device]


def check_laws(graph: Graph) -> None:
    place = {node: number for number, node in enumerate(graph.nodes)}
    assert is_scheduled(graph)
    assert all(place[operand] < place[node] for node in graph.nodes for operand in node.inputs)
    for pair in graph.updates:
        readers = [user for user in graph.uses()[pair.leaf] if user is not pair.value]
        region = graph.note("region")
        assert all(region[reader] <= region[pair.value] for reader in readers), pair.leaf.name
    _check_no_device_idles(graph)
    rendezvous(graph)


def _check_no_device_idles(graph: Graph) -> None:
    """In a run of this order, nothing that comes later could have begun earlier."""
    regions, free = Regions(graph), dict.fromkeys(graph.devices(), 0)
    done: dict[int, int] = {}

    def start(region: int) -> int:
        node = regions.nodes[region][0]
        waits = [done[before] for before in regions.before[region]]
        return max([free[side] for side in _sides(node)] + waits)

    order = sorted(regions.nodes)
    for place, region in enumerate(order):
        begins, nodes = start(region), regions.nodes[region]
        for later in order[place + 1 :]:
            if regions.before[later] <= done.keys():
                assert start(later) >= begins, (nodes[0].name, regions.nodes[later][0].name)
        cost = sum(max(flops(n), FLOPS_PER_BYTE * bytes_moved(n)) for n in nodes)
        done[region] = begins + cost
        free.update(dict.fromkeys(_sides(nodes[0]), begins + cost))


@cases(full=200, sample=30)
@given(networks())
def test_laws_on_generated_programs(graph: Graph) -> None:
    for devices in (1, 2, 4):
        check_laws(scheduled(graph, devices))


@pytest.mark.parametrize("model", SMALL)
def test_laws_on_models(model: str) -> None:
    for devices in (1, 2, 4):
        check_laws(scheduled(SMALL[model](), devices))
        check_laws(run_passes(SMALL[model](), EVALUATE, Context(devices)))


@cases(full=100, sample=15)
@given(networks())
def test_values_stay(graph: Graph) -> None:
    before = run_passes(graph, UNTIL[:-1], Context(2))
    after = run_passes(before, ("schedule",), Context(2))
    fed = feeds(before)
    assert_same_results(run_graph(after, fed), run_graph(before, fed), 0.0)


def test_regions_are_numbered_in_order() -> None:
    graph = scheduled(alexnet())
    numbers = list(dict.fromkeys(graph.note("region").values()))
    order = list(
        dict.fromkeys(graph.note("region")[n] for n in graph.nodes if n in graph.note("region"))
    )
    assert order == sorted(numbers) == list(range(len(numbers)))


def test_memory_decides_between_orders() -> None:
    # Two wide branches that shrink at once: doing both wide parts first would need both at once.
    graph = run_passes(_wide_branches(), ("place", "transfer", "fuse", "schedule"), Context(1))
    assert Lifetimes(graph).peak()[Device(0)] < 2 * 4 * 64 * 32 * 32 * 4


def _wide_branches() -> Graph:
    from ir.text import parse

    branch = """
          a{i}: f32[4,64,32,32] = conv(x, w{i})
          c{i}: f32[4,64,8,8] = max_pool(a{i}, window=[4,4], stride=[4,4])"""
    weights = "".join(f"\n w{i}: f32[64,1,1,1] = param(std=1)" for i in range(4))
    firsts = "".join(branch.split("\n")[1].format(i=i) + "\n" for i in range(4))
    seconds = "".join(branch.split("\n")[2].format(i=i) + "\n" for i in range(4))
    return parse(
        f"""graph g {{
          x: f32[4,1,32,32] = input(){weights}
          {firsts}{seconds}
          y: f32[4,256,8,8] = concat(c0, c1, c2, c3)
          output y
        }}"""
    )


CHAIN = """graph g {{
  x: f32[3,3]@dev0 = input()
  a: f32[3,3]@dev0 = relu(x) {{region=0}}
  b: f32[3,3]@dev0 = tanh(a){}
  c: f32[3,3]@dev0 = relu(b) {{region=0}}
  output c
}}"""


@pytest.mark.parametrize(
    ("note", "words"),
    [(" {region=1}", "regions wait for each other in a circle"), ("", "schedule.*regions")],
)
def test_notes_that_are_no_regions_are_refused(note: str, words: str) -> None:
    with pytest.raises(IRError, match=words):
        run_passes(parse(CHAIN.format(note)), ("schedule",), Context(1))
