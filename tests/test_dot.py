"""Drawings: every node in one box, every edge where it belongs, nothing on top of anything."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from time import process_time
from xml.etree import ElementTree

import pytest
from hypothesis import given

from ir.dot import print_dot, to_dot, to_svg
from ir.drawing import Drawing, draw
from ir.drawing.columns import PADDING, line_width
from ir.drawing.grouping import Detail, Role, roles_of
from ir.drawing.label import LONGEST, human_bytes, human_flops, op_words, shape_words, shorten
from ir.drawing.paint import PAINTS, TRANSFER
from ir.drawing.rows import rows_of
from ir.graph import Graph
from ir.ops import apply
from ir.printer import print_graph
from ir.svg import print_svg
from ir.text import parse
from ir.type import Device, DType, IRError, TensorType
from passes.context import Context
from passes.pipeline import TRAIN, run_passes
from tests.commands import assert_refused, python
from tests.counts import cases, sampled
from tests.graphs import SEEDS, big_network, networks, random_graph
from tests.models import SMALL
from tests.op_cases import draw_program

SVG = "{http://www.w3.org/2000/svg}"
NEEDS_GRAPHVIZ = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")

TOWERS = """graph towers {
  x0: f32[8,4,10,10]@dev0 = input(of="x")
  x1: f32[8,4,10,10]@dev1 = input(of="x")
  w0: f32[6,4,3,3]@dev0 = param()
  w1: f32[6,4,3,3]@dev1 = param()
  b0: f32[6]@dev0 = param()
  u: f32[5,768]@dev0 = param()
  v: f32[5,768]@dev0 = state()
  rate: f32[]@dev0 = input()
  momentum: f32[]@dev0 = input()
  decay: f32[]@dev0 = input()
  labels: i32[8]@dev0 = input(below=5)
  shares: f32[8]@dev0 = input()
  a0: f32[8,6,8,8]@dev0 = conv(x0, w0)
  a0.biased: f32[8,6,8,8]@dev0 = bias_add(a0, b0)
  a0.relu: f32[8,6,8,8]@dev0 = relu(a0.biased)
  a1: f32[8,6,8,8]@dev1 = conv(x1, w1)
  a1.relu: f32[8,6,8,8]@dev1 = relu(a1)
  sent: f32[8,6,8,8]@dev0 = transfer(a1.relu, to=0)
  both: f32[8,12,8,8]@dev0 = concat(a0.relu, sent)
  flat: f32[8,768]@dev0 = flatten(both)
  logits: f32[8,5]@dev0 = dense(flat, u)
  loss: f32[]@dev0 = cross_entropy(logits, labels, shares)
  one: f32[]@dev0 = constant(value=1)
  logits.d: f32[8,5]@dev0 = cross_entropy_dx(logits, labels, shares, one)
  u.d: f32[5,768]@dev0 = dense_dw(flat, logits.d)
  v.next: f32[5,768]@dev0 = sgd_velocity(v, u, u.d, rate, momentum, decay)
  u.next: f32[5,768]@dev0 = sgd_weight(u, v.next, rate)
  output loss
  update v = v.next
  update u = u.next
}
"""


def trained(
    graph: Graph, until: str = "memory", devices: int = 2, precision: str = "fp32"
) -> Graph:
    return run_passes(graph, TRAIN[: TRAIN.index(until) + 1], Context(devices, precision))


def programs(seed: int) -> Iterator[Graph]:
    """Whole and placed networks, training and not, and loose nodes; some with absurd regions."""
    rng = Random(seed)
    graph = random_graph(rng)
    yield graph
    until = rng.choice(("place", "grad", "sgd", "memory"))
    yield trained(graph, until, rng.choice((1, 2, 4)), rng.choice(("fp32", "bf16")))
    loose = draw_program(rng)
    yield loose
    placed = trained(graph, "sgd")
    yield placed.with_note(
        "region", {n: rng.randrange(9) for n in placed.nodes if rng.random() < 0.8}
    )


def drawings(seed: int) -> Iterator[tuple[Graph, Drawing]]:
    for graph in programs(seed):
        for detail in Detail:
            if detail is not Detail.REGIONS or graph.notes.get("region"):
                yield graph, draw(graph, detail, weights=Random(seed).random() < 0.3)


def place_of(drawing: Drawing, name: str) -> int:
    found = [p for p, box in enumerate(drawing.boxes) for n in box.nodes if n.name == name]
    (place,) = found
    return place


# ---------------------------------------------------------------------------- laws of a drawing


@cases(full=300, sample=20)
@given(SEEDS)
def test_every_node_is_in_one_box_or_folded(seed: int) -> None:
    for graph, drawing in drawings(seed):
        shown = Counter(node for box in drawing.boxes for node in box.nodes)
        assert set(shown.values()) <= {1}
        for node in set(graph.nodes) - set(shown):
            assert not node.inputs
            assert node.op in ("param", "state") or node.type.rank == 0
        for lane in drawing.lanes:
            nodes = [node for place in lane.boxes for node in drawing.boxes[place].nodes]
            assert all(node.device == lane.device for node in nodes)
        placed = [place for lane in drawing.lanes for place in lane.boxes]
        assert sorted(placed) == list(range(len(drawing.boxes)))


@cases(full=300, sample=20)
@given(SEEDS)
def test_edges_are_the_operands_that_lie_in_other_boxes(seed: int) -> None:
    for graph, drawing in drawings(seed):
        home = {n: place for place, box in enumerate(drawing.boxes) for n in box.nodes}
        expected = {
            (home[operand], home[node])
            for node in home
            for operand in node.inputs
            if operand in home and home[operand] != home[node]
        }
        assert {(edge.source, edge.target) for edge in drawing.edges} == expected
        assert len(drawing.edges) == len(expected)
        for edge in drawing.edges:
            ends = drawing.boxes[edge.source].device, drawing.boxes[edge.target].device
            assert edge.transfer is (ends[0] != ends[1])
        sent = sum(node.type.bytes for node in graph.nodes if node.op == "transfer")
        assert sum(edge.bytes for edge in drawing.edges if edge.transfer) == sent


@cases(full=300, sample=20)
@given(SEEDS)
def test_boxes_of_chains_make_no_cycle(seed: int) -> None:
    for graph in programs(seed):
        for detail in (Detail.NODES, Detail.CHAINS):
            drawing = draw(graph, detail)
            assert all(edge.source < edge.target for edge in drawing.edges)


@cases(full=200, sample=12)
@given(networks())
def test_regions_of_the_compiler_make_no_cycle(graph: Graph) -> None:
    drawing = draw(trained(graph))
    assert all(edge.source < edge.target for edge in drawing.edges)


@cases(full=200, sample=12)
@given(networks())
def test_forward_runs_down_and_backward_up(graph: Graph) -> None:
    drawing = draw(trained(graph))
    rows = rows_of(drawing)
    for edge in drawing.edges:
        source, target = drawing.boxes[edge.source].role, drawing.boxes[edge.target].role
        difference = rows[edge.target] - rows[edge.source]
        if source is target is Role.FORWARD:
            assert difference > 0
        elif source is Role.FORWARD:
            assert difference >= 0
        else:
            assert difference < 0


def test_roles() -> None:
    graph = parse(TOWERS)
    roles = {node.name: role.value for node, role in roles_of(graph).items()}
    assert [name for name, role in roles.items() if role == "backward"] == [
        "one",
        "logits.d",
        "u.d",
    ]
    assert [name for name, role in roles.items() if role == "update"] == [
        *("v", "rate", "momentum", "decay"),
        *("v.next", "u.next"),
    ]


def test_an_update_without_state_and_a_program_of_updates_alone() -> None:
    graph = parse(
        """graph g {
          w: f32[4] = param()
          g: f32[4] = input()
          step: f32[4] = scale(g, by=-0.1)
          w.next: f32[4] = add(w, step)
          update w = w.next
        }"""
    )
    roles = {node.name: role for node, role in roles_of(graph).items()}
    assert roles["w.next"] is Role.UPDATE
    assert roles["step"] is Role.BACKWARD


def test_what_a_box_says() -> None:
    drawing = draw(parse(TOWERS))
    lines = [[f"{line.name} {line.text}".strip() for line in b.lines] for b in drawing.boxes]
    assert lines[place_of(drawing, "a0.relu")] == [
        "a0 conv 3x3 /1",
        "a0.biased bias_add",
        "a0.relu relu",
        "[8,6,8,8] · 222 weights",
    ]
    assert lines[place_of(drawing, "both")] == [
        "sent transfer from dev1",
        "[8,6,8,8]",
        "both concat",
        "[8,12,8,8]",
        "flat flatten",
        "[8,768]",
    ]
    assert lines[place_of(drawing, "loss")] == ["loss cross_entropy → output", "scalar"]
    assert lines[place_of(drawing, "labels")] == ["labels input", "i32 [8]"]
    update = drawing.boxes[place_of(drawing, "u.next")]
    assert [node.name for node in update.nodes] == ["u.d", "v.next", "u.next"]
    assert [line.role and line.role.value for line in update.lines] == ["backward"] + 3 * ["update"]
    assert drawing.title == "towers"
    assert drawing.subtitle == "27 nodes in 11 boxes, 1 transfer moves 12.29 kB per step"
    assert [lane.title.split(",")[0] for lane in drawing.lanes] == [
        "dev0: 4",
        "dev1: 216 weights",
    ]


def test_weights_can_be_shown() -> None:
    drawing = draw(parse(TOWERS), weights=True)
    shown = {node.name for box in drawing.boxes for node in box.nodes}
    assert {"w0", "u", "v", "rate", "one"} <= shown


def test_many_nodes_in_one_box_are_counted() -> None:
    x = apply("input", name="x", type=TensorType((2,), DType.F32))
    nodes = [x]
    for number in range(20):
        nodes.append(apply("relu", nodes[-1], name=f"y{number}"))
    box = draw(Graph("long", tuple(nodes), (nodes[-1],))).boxes[-1]
    assert len(box.nodes) == 20
    assert "and 13 more nodes" in [line.text for line in box.lines]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_994, "999.99 kB"),
        (999_996, "1.00 MB"),
        (11_075_584, "11.08 MB"),
        (60_030_976, "60.03 MB"),
        (2**40, "1.10 TB"),
    ],
)
def test_human_bytes(count: int, words: str) -> None:
    assert human_bytes(count) == words


def test_words() -> None:
    x = apply("input", name="x", type=TensorType((2, 4, 8, 8), DType.BF16))
    pool = apply("max_pool", x, name="p", window=(3, 2), stride=(2, 1), pad=(1, 0, 1, 0))
    assert op_words(pool) == "max_pool 3x2 /2,1 pad 1,0,1,0"
    assert shape_words(pool) == "bf16 [2,4,4,8]"
    assert op_words(apply("slice", x, name="s", start=1, size=2)) == "slice [1:3]"
    assert op_words(apply("unslice", x, name="s", start=1, size=9)) == "unslice [1:5]"
    assert op_words(apply("scale", x, name="s", by=0.5)) == "scale by 0.5"
    assert human_flops(1_500_000) == "1.50 MFLOP"
    assert human_flops(12) == "12 FLOP"
    assert len(shorten("x" * 99)) == LONGEST


# ---------------------------------------------------------------------------- graphviz text


def test_transfers_are_dashed_and_say_their_bytes() -> None:
    drawing = draw(trained(SMALL["paper"]()))
    lines = to_dot(trained(SMALL["paper"]())).splitlines()
    dashed = [line for line in lines if "style=dashed" in line]
    labels = [edge.label for edge in drawing.edges if edge.transfer]
    assert len(dashed) == 14
    assert Counter(re.findall(r'label="([^"]*)"', "".join(dashed))) == Counter(labels)
    assert all(f'color="{TRANSFER}"' in line for line in dashed)


def test_dot_edges_join_boxes_that_exist() -> None:
    text = to_dot(trained(SMALL["paper"]()))
    boxes = set(re.findall(r"^ +(n\d+) \[", text, re.MULTILINE))
    ends = re.findall(r"^ +(n\d+) -> (n\d+) \[", text, re.MULTILINE)
    assert ends
    assert {end for pair in ends for end in pair} <= boxes


def test_dot_has_a_cluster_for_each_device() -> None:
    graph = SMALL["paper"]()
    assert "subgraph" not in to_dot(graph)
    for devices in (1, 2):
        text = to_dot(trained(graph, devices=devices))
        found = re.findall(r"subgraph cluster_(dev\d+) \{", text)
        assert found == [f"dev{number}" for number in range(devices)]


def test_roles_are_coloured() -> None:
    graph = parse(TOWERS)
    dot, roles = to_dot(graph), {node.name: role for node, role in roles_of(graph).items()}
    for name in ("a0", "loss", "logits.d", "u.d", "u.next"):
        fill = PAINTS[roles[name]].fill
        assert f'BGCOLOR="{fill}">{name}&#160;' in dot
    for kind in ("forward", "backward", "update", "transfer"):
        assert f">{kind}<" in dot or f"- - {kind}<" in dot


@NEEDS_GRAPHVIZ
@cases(full=100, sample=4)
@given(SEEDS)
def test_graphviz_accepts_what_we_write(seed: int) -> None:
    for _, drawing in drawings(seed):
        # Without splines: some versions fail to route them between many boxes.
        command = ["dot", "-Gsplines=none", "-Tcanon"]
        text = print_dot(drawing).encode()
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        assert done.returncode == 0
        assert b"rror" not in done.stderr


def odd_names() -> Graph:
    """Names that neither parser nor passes give."""
    x = apply("input", name="x", type=TensorType((2, 3), DType.F32, Device(3)))
    x = replace(x, name='<x> & "y"\\')
    y = replace(apply("relu", x, name="y"), name="]]>--><b>")
    return Graph('<i>"&\\', (x, y), (y,))


@NEEDS_GRAPHVIZ
def test_graphviz_accepts_odd_names() -> None:
    ElementTree.fromstring(to_svg(draw(odd_names())))


# ---------------------------------------------------------------------------- our own SVG


def rects(root: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of every box."""
    found = []
    for group in root.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        x, y, w, h = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    return found


def paths(root: ElementTree.Element) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """The points of every edge, those that hold its turns included."""
    found = {}
    for path in root.iter(f"{SVG}path"):
        if "data-edge" in path.attrib:
            source, target = map(int, path.attrib["data-edge"].split())
            points = re.findall(r"(-?[\d.]+),(-?[\d.]+)", path.attrib["d"])
            found[source, target] = [(float(x), float(y)) for x, y in points]
    return found


def check_page(drawing: Drawing) -> None:
    root = ElementTree.fromstring(print_svg(drawing))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = rects(root)
    assert len(boxes) == len(drawing.boxes)
    assert all(x >= 0 and y >= 0 and right <= width and b <= height for x, y, right, b in boxes)
    assert not list(overlaps(boxes))
    lines = paths(root)
    assert set(lines) == {(edge.source, edge.target) for edge in drawing.edges}
    for (source, target), points in lines.items():
        assert on_border(points[0], boxes[source])
        assert on_border(points[-1], boxes[target])
        for begin, end in pairwise(points):
            assert not [b for b in boxes if crosses(begin, end, b)]


def overlaps(boxes: list[tuple[float, float, float, float]]) -> Iterator[tuple[int, int]]:
    order = sorted(range(len(boxes)), key=lambda place: boxes[place][1])
    for number, one in enumerate(order):
        for other in order[number + 1 :]:
            if boxes[other][1] >= boxes[one][3]:
                break
            if boxes[one][0] < boxes[other][2] and boxes[other][0] < boxes[one][2]:
                yield one, other


def on_border(point: tuple[float, float], box: tuple[float, float, float, float]) -> bool:
    x, y = point
    return box[0] <= x <= box[2] and min(abs(y - box[1]), abs(y - box[3])) < 0.11


def crosses(
    a: tuple[float, float], b: tuple[float, float], box: tuple[float, float, float, float]
) -> bool:
    """Whether the upright rectangle around a and b reaches into the box."""
    across = max(a[0], b[0]) > box[0] + 0.2 and min(a[0], b[0]) < box[2] - 0.2
    return across and max(a[1], b[1]) > box[1] + 0.2 and min(a[1], b[1]) < box[3] - 0.2


@cases(full=200, sample=8)
@given(SEEDS)
def test_boxes_do_not_overlap_and_no_edge_crosses_one(seed: int) -> None:
    for _, drawing in drawings(seed):
        check_page(drawing)


@pytest.mark.parametrize("model", SMALL)
def test_every_model_is_drawn(model: str) -> None:
    check_page(draw(trained(SMALL[model]())))


def test_text_fits_its_box() -> None:
    drawing = draw(trained(SMALL["paper"]()))
    boxes = rects(ElementTree.fromstring(print_svg(drawing)))
    for box, (left, _, right, _) in zip(drawing.boxes, boxes, strict=True):
        assert max(map(line_width, box.lines)) + 2 * PADDING <= right - left + 0.11


def test_svg_says_what_the_drawing_says() -> None:
    drawing = draw(parse(TOWERS))
    root = ElementTree.fromstring(print_svg(drawing))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    for box in drawing.boxes:
        assert all(line.name + line.text in texts for line in box.lines)
    assert {drawing.title, drawing.subtitle, *(lane.title for lane in drawing.lanes)} <= set(texts)
    assert {"forward", "backward", "update", "transfer"} <= set(texts)
    (dashed,) = (p for p in root.iter(f"{SVG}path") if "data-edge" in p.attrib and is_dashed(p))
    edge = next(edge for edge in drawing.edges if edge.transfer)
    assert dashed.attrib["data-edge"] == f"{edge.source} {edge.target}"
    assert edge.label == human_bytes(8 * 6 * 8 * 8 * 4)
    assert edge.label in texts


def is_dashed(path: ElementTree.Element) -> bool:
    return "transfer" in path.attrib.get("class", "").split()


def test_odd_names_are_escaped() -> None:
    root = ElementTree.fromstring(print_svg(draw(odd_names())))
    assert "]]>--><b>" in {text.text for text in root.iter(f"{SVG}tspan")}


@pytest.mark.parametrize(
    "text",
    [
        "graph g {\n}",
        "graph g {\n x: f32[2] = input()\n}",
        "graph g {\n x: f32[] = input()\n}",
        "graph g {\n w: f32[2]@dev7 = param()\n}",
        "graph g {\n x: f32[2]@dev7 = input()\n y: f32[2] = input()\n z: f32[2] = relu(y)\n}",
        "graph g {\n w: f32[2]@dev0 = param()\n s: f32[2]@dev1 = transfer(w, to=1)\n}",
        "graph g {\n w: f32[2] = param()\n update w = w\n output w\n}",
    ],
)
def test_almost_empty_programs(text: str) -> None:
    drawing = draw(parse(text))
    check_page(drawing)
    assert print_dot(drawing).count("{") == print_dot(drawing).count("}")


def test_the_same_drawing_every_time() -> None:
    graph = trained(SMALL["paper"]())
    again = parse(print_graph(graph))
    assert to_dot(again) == to_dot(graph)
    assert print_svg(draw(again)) == print_svg(draw(graph))


def wide(nodes: int) -> Graph:
    x = apply("input", name="x", type=TensorType((2,), DType.F32))
    readers = [apply("relu", x, name=f"y{number}") for number in range(nodes)]
    return Graph("wide", (x, *readers), tuple(readers))


def deep(nodes: int) -> Graph:
    chain = [apply("input", name="x", type=TensorType((2,), DType.F32))]
    for number in range(nodes):
        first = chain[number // 2]
        chain.append(apply("add", chain[-1], first, name=f"y{number}"))
    return Graph("deep", tuple(chain), (chain[-1],))


@pytest.mark.parametrize("program", sampled([wide, deep, big_network], big_network))
def test_large_programs_take_seconds(program: Callable[[int], Graph]) -> None:
    graph = program(10_000)
    begin = process_time()
    drawing = draw(graph, Detail.NODES)
    svg, dot = print_svg(drawing), print_dot(drawing)
    assert process_time() - begin < 20  # alone, about 3
    boxes = rects(ElementTree.fromstring(svg))
    assert len(boxes) == len(drawing.boxes) > 5_000
    assert dot.count('<TABLE BORDER="1"') == len(boxes)


# ---------------------------------------------------------------------------- the command


def test_the_filter_writes_dot() -> None:
    done = python("ir.dot", given=TOWERS)
    assert (done.code, done.err) == (0, "")
    assert done.out == to_dot(parse(TOWERS))


@pytest.mark.parametrize("options", [["--own"], []])
def test_svg_goes_to_stdout_or_a_file(options: list[str], tmp_path: Path) -> None:
    source, target = tmp_path / "towers.ir", tmp_path / "towers.svg"
    source.write_text(TOWERS)
    done = python("ir.dot", str(source), *options, "--svg")
    assert (done.code, done.err) == (0, "")
    ElementTree.fromstring(done.out)
    saved = python("ir.dot", str(source), *options, "--svg", str(target))
    assert (saved.code, saved.out, saved.err) == (0, "", "")
    assert target.read_text(encoding="utf-8") == done.out


def test_details() -> None:
    graph = trained(SMALL["paper"](), "fuse")
    text = print_graph(graph)
    by_detail = {each: python("ir.dot", f"--{each.value}", given=text).out for each in Detail}
    assert by_detail == {each: to_dot(graph, each) for each in Detail}
    assert python("ir.dot", given=text).out == by_detail[Detail.REGIONS]
    assert python("ir.dot", "--weights", given=text).out == to_dot(graph, weights=True)


def test_refusals(tmp_path: Path) -> None:
    source = tmp_path / "towers.ir"
    source.write_text(TOWERS)
    assert_refused(python("ir.dot", given="graph g {"), "<stdin>:1", "closing")
    assert_refused(python("ir.dot", str(tmp_path / "none.ir")), "none.ir", "cannot be read")
    assert_refused(python("ir.dot", "--regions", given=TOWERS), "region")
    assert_refused(python("ir.dot", "--svg", str(source)), "towers.ir", ".svg")
    assert source.read_text() == TOWERS
    missing = str(tmp_path / "missing" / "a.svg")
    assert_refused(python("ir.dot", "--svg", missing, given=TOWERS), "a.svg", "cannot be written")
    assert python("ir.dot", "--nodes", "--chains", given=TOWERS).code == 2


def test_regions_need_notes() -> None:
    with pytest.raises(IRError, match="region"):
        draw(parse(TOWERS), Detail.REGIONS)


def test_graphviz_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    drawing = draw(parse(TOWERS))
    assert to_svg(drawing) == print_svg(drawing)


def test_graphviz_may_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dot").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    drawing = draw(parse(TOWERS))
    assert to_svg(drawing) == print_svg(drawing)
    assert "failed, drawing without it" in capsys.readouterr().err


def test_the_output_is_ascii() -> None:
    drawing = draw(parse(TOWERS))
    assert print_dot(drawing).isascii()
    assert print_svg(drawing).isascii()
