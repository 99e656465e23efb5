"""The benchmarks' own arithmetic: what they count, compare and print."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import contestants, report, step
from benchmarks.contest import Contestant, compete
from benchmarks.errors import convolutions, errors
from benchmarks.kernels import regions
from benchmarks.networks import NETS, images, layers, network
from benchmarks.peak import Ceilings, bandwidth, multiply_adds
from benchmarks.peers import torch_network
from benchmarks.training import verdict
from benchmarks.work import nominal, operations
from codegen.targets import cpu
from codegen.tuning.timing import Bench, interleaved, pool
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.ops import apply
from ir.type import DType, TensorType

F32 = DType.F32
PEERLESS = "cifar"

# ------------------------------------------------------------------------------- counting


def convolution(n: int, size: int, window: int, stride: int, pads: tuple[int, ...]) -> Graph:
    x = apply("input", name="x", type=TensorType((n, 2, size, size), F32))
    w = apply("input", name="w", type=TensorType((3, 2, window, window), F32))
    y = apply("conv", x, w, name="y", stride=(stride, stride), pad=pads)
    return Graph("one", (x, w, y), (y,))


def gradients(y: Node) -> tuple[Node, Node]:
    x, w = y.inputs
    dy = apply("input", name="dy", type=y.type)
    geometry: dict[str, Any] = {key: y.attrs[key] for key in ("stride", "pad", "groups")}
    dx = apply("conv_dx", w, dy, name="dx", size=x.type.shape[2:], **geometry)
    return dx, apply("conv_dw", x, dy, name="dw", kernel=w.type.shape[2:], **geometry)


@given(
    size=st.integers(4, 9),
    window=st.integers(1, 4),
    stride=st.integers(1, 3),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
)
def test_operations_are_those_that_meet_a_pixel(
    size: int, window: int, stride: int, pads: tuple[int, ...]
) -> None:
    pads = tuple(min(pad, window - 1) for pad in pads)
    graph = convolution(2, size, window, stride, pads)
    (y,) = graph.outputs
    ones = {leaf.name: np.ones(leaf.type.shape) for leaf in graph.leaves("input")}
    met = 2 * run_graph(graph, ones).outputs["y"].sum()
    assert operations(y) == pytest.approx(met)
    assert [operations(node) for node in gradients(y)] == pytest.approx([met, met])
    assert (operations(y) < nominal(graph)) == (met < nominal(graph))


def test_bounds_are_what_takes_longer() -> None:
    ceilings = Ceilings(flops=10, bytes=2)
    assert ceilings.least(flops=20, moved=1) == 2
    assert ceilings.least(flops=20, moved=6) == 3


# ------------------------------------------------------------------------------- comparing


@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=5, unique=True), st.floats(0, 9))
def test_a_verdict_is_about_the_spread_of_seeds(losses: list[float], by: float) -> None:
    rows: list[report.Facts] = [
        {"exact": {"loss": loss}, "default": {"loss": loss + by}} for loss in losses
    ]
    found = verdict(rows, "loss")
    assert found["mean_difference"] == pytest.approx(by)
    assert found["largest_difference"] == pytest.approx(by)
    assert found["error_of_mean"] == pytest.approx(0, abs=1e-9)
    spread = float(np.std(losses, ddof=1))
    assert found["spread_of_seeds"] == pytest.approx(spread)
    if abs(by - spread) > 1e-6:
        assert found["within"] == (by < spread)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_errors_are_relative(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    meant, noise = random.standard_normal((2, 40))
    one, other = (
        errors(meant + 0.01 * noise, meant),
        errors(scale * (meant + 0.01 * noise), scale * meant),
    )
    assert one == pytest.approx(other)
    assert errors(meant, meant) == (0, 0)
    assert one[0] == pytest.approx(0.01 * np.abs(noise).max() / np.abs(meant).max())


# ------------------------------------------------------------------------------- peers


@pytest.mark.parametrize("net", NETS)
def test_peers_have_the_layers_of_a_network_or_refuse_it(net: str) -> None:
    graph = network(net, 16)
    if net == PEERLESS:
        with pytest.raises(Error, match="peers have conv, dense"):
            layers(graph)
        return
    chain = layers(graph)
    assert [n for n in graph.nodes if n.op in ("conv", "dense", "relu", "lrn", "max_pool")] == [
        n for n in chain if n.op not in ("flatten", "dropout")
    ]
    assert images(graph) == (16, 3, 224, 224)


@pytest.mark.torch
@pytest.mark.parametrize("net", [net for net in NETS if net != PEERLESS])
def test_pytorch_has_the_same_shapes(net: str) -> None:
    import torch

    graph = network(net, 2)
    with torch.device("meta"):
        x = torch.empty(images(graph))
        for node, module in zip(layers(graph), torch_network(torch, graph), strict=True):
            x = module(x)
            assert tuple(x.shape) == node.type.shape, node.name


def test_all_contestants_differ_in_their_names() -> None:
    for net in NETS:
        names = [each.name for each in (*contestants.ours(net), *contestants.peers(net))]
        assert len(names) == len(set(names))


# ------------------------------------------------------------------------------- turns


def contestant(name: str, body: str) -> Contestant:
    code = f"import time\nfrom benchmarks.contest import serve\n{body}"
    return Contestant(name, [sys.executable, "-c", code], {})


def test_those_that_fail_are_out_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    fine = contestant("fine", "serve(lambda: None)")
    slow = contestant("slow", "serve(lambda: time.sleep(60))")
    gone = contestant("gone", "raise SystemExit")
    failed = compete([fine, slow, gone], 2, warm=1, limit=5)
    assert set(failed) == {"slow", "gone"}
    assert "within 5 s" in failed["slow"]
    assert [len(each.seconds) for each in (fine, slow, gone)] == [2, 0, 0]


def test_ratios_are_to_our_own_step_in_the_same_leg(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    naps = {"tandem": 0.05, "torch eager": 0.15, "jax jit": 0.1}

    def started(entry: contestants.Entry, options: object, plan: object) -> Contestant:
        return contestant(entry.name, f"serve(lambda: time.sleep({naps[entry.name]}))")

    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(contestants.Entry, "started", started)
    monkeypatch.setattr(contestants.Entry, "installed", property(lambda e: e.name in naps))
    monkeypatch.setattr(step._Plans, "of", lambda plans, entry: None)
    monkeypatch.setattr(step._Plans, "operations", lambda plans: 1e9)
    monkeypatch.setattr(step, "measured", lambda threads: Ceilings(1e11, 1e10))
    words = ["--batch", "2", "--rounds", "2", "--warm", "1", "--together", "1", "--only"]
    monkeypatch.setattr(sys, "argv", ["step", *words, "tandem$|torch eager$|^jax jit$|tinygrad"])
    step.main()
    found = json.loads((tmp_path / "step-alexnet-2.json").read_text())
    assert [row["leg"] for row in found["rows"]] == [0, 0, 1, 1]
    for ours, theirs in zip(found["rows"][::2], found["rows"][1::2], strict=True):
        assert theirs["ratio"] == theirs["median"] / ours["median"]
        assert theirs["ratio"] > 1
    assert found["failed"] == {"tinygrad": "not installed"}
    assert "tinygrad: not installed" in capsys.readouterr().out


def test_kernels_take_turns() -> None:
    said: list[str] = []
    spent = interleaved([lambda: said.append("a"), lambda: said.append("b")], 2, lambda: len(said))
    assert said == ["a", "b"] * 3
    assert spent == [[1, 1], [1, 1]]


# ------------------------------------------------------------------------------- kernels


def test_a_kernel_does_what_its_region_means() -> None:
    pool(2)
    region = next(convolutions("alexnet", 2, "conv_dw"))
    bench = Bench(region, cpu(winograd="none"), threads=2)
    random = np.random.default_rng(0)
    feeds = {
        leaf.name: random.standard_normal(leaf.type.shape, np.float32)
        for leaf in region.leaves("input")
    }
    bench.feed(feeds)
    bench.kernel(cpu(winograd="none")).call()
    (node,) = region.outputs
    assert errors(bench.value(node), run_graph(region, feeds).outputs[node.name])[0] < 1e-5


def test_every_kernel_of_a_step_is_measured() -> None:
    ops = {node.op for region in regions(16) for node in region.nodes}
    assert {"conv", "dense_dw", "lrn", "max_pool_dx", "sgd_weight", "cross_entropy"} <= ops


def test_ceilings_are_finite_and_order_the_caches() -> None:
    pool(2)
    assert 1e9 < multiply_adds(1) < 1e12
    assert 1e8 < bandwidth("read", 1, 2**26) < 1e12


# ------------------------------------------------------------------------------- printing

CELLS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@settings(max_examples=50)
@given(
    st.integers(2, 5).flatmap(
        lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=2)
    )
)
def test_a_table_has_its_cells_in_aligned_columns(lines: list[list[str]]) -> None:
    printed = report.table(lines[0], lines[1:]).splitlines()
    assert len({len(line) for line in printed}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed]
    assert [cells[0], *cells[2:]] == lines


def test_figures_come_with_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    report.write("some", report.machine(), rows=[1, 2])
    found = json.loads((tmp_path / "some.json").read_text())
    assert found["rows"] == [1, 2]
    assert {"cpu", "cores", "llvm", "memory", "versions", "date", "load_before", "load_after"} <= (
        found["machine"].keys()
    )
