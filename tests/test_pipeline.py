"""The runner and the command `python -m passes`."""

import subprocess
import sys
from pathlib import Path

import pytest

from ir.graph import Graph, Node
from ir.printer import print_graph
from ir.text import parse
from ir.type import IRError
from passes import pipeline
from passes.context import Context
from passes.pipeline import (
    ACCUMULATE,
    APPLY,
    EVALUATE,
    PASSES,
    TRAIN,
    Pass,
    run_passes,
)
from tests.commands import assert_refused, python
from tests.models import SMALL, SOME

PAPER = print_graph(SMALL["paper"]())


@pytest.mark.parametrize("names", [TRAIN, EVALUATE, ACCUMULATE, APPLY])
@pytest.mark.parametrize("model", SOME)
def test_every_program_of_every_model_prints_and_parses(model: str, names: tuple[str, ...]) -> None:
    for devices in (1, 2, 4):
        graph = run_passes(SMALL[model](), names, Context(devices))
        assert parse(print_graph(graph)) == graph


def test_a_pass_names_what_it_needs_and_who_provides_it() -> None:
    graph = parse(PAPER)
    with pytest.raises(IRError, match="pass 'sgd' needs gradients; run grad first"):
        run_passes(graph, ("sgd",), Context())
    with pytest.raises(IRError, match="pass 'fuse' needs a device in every type; run transfer fi"):
        run_passes(graph, ("fuse",), Context())
    with pytest.raises(IRError, match="unknown pass 'spilt', expected some of split, place"):
        run_passes(graph, ("spilt",), Context())


def test_a_pass_that_breaks_a_law_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(graph: Graph, context: Context) -> Graph:
        last = graph.nodes[-1]
        wrong = Node(last.op, last.inputs, last.attrs, last.type.with_shape(9), last.name)
        return graph.replace(nodes=[*graph.nodes[:-1], wrong], outputs=[wrong])

    monkeypatch.setitem(pipeline.PASSES, "breaks", Pass("breaks", breaks))
    with pytest.raises(IRError, match=r"(?s)pass 'breaks': in graph .*\n> .* top5: f32\[9\]"):
        run_passes(parse(PAPER), ("breaks",), Context())


def test_a_pass_that_ensures_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = Pass("idle", lambda graph, context: graph, ensures=PASSES["grad"].ensures)
    monkeypatch.setitem(pipeline.PASSES, "idle", idle)
    with pytest.raises(IRError, match="pass 'idle' left a program without gradients"):
        run_passes(parse(PAPER), ("idle",), Context())


# ---------------------------------------------------------------------------- the command


def test_the_command_is_a_filter() -> None:
    first = python("passes", "split,place,transfer", given=PAPER)
    assert first.code == 0
    rest = python("passes", "grad,precision,sgd,simplify,fuse,schedule,memory", given=first.out)
    at_once = python("passes", given=PAPER)
    assert rest.out == at_once.out
    assert rest.code == at_once.code == 0
    assert parse(at_once.out) == run_passes(parse(PAPER), TRAIN, Context(2))


def test_until_stops() -> None:
    done = python("passes", "--until", "transfer", given=PAPER)
    assert parse(done.out) == run_passes(parse(PAPER), TRAIN[:3], Context(2))


def test_reasons_are_printed() -> None:
    done = python("passes", "split", given=PAPER)
    assert done.err == "split: fc8 (dense) stays whole: the model keeps it whole\n"


def test_options_reach_the_passes() -> None:
    done = python(
        "passes", "--program", "evaluate", "--devices", "4", "--precision", "bf16", given=PAPER
    )
    expected = run_passes(parse(PAPER), EVALUATE, Context(4, precision="bf16"))
    assert parse(done.out) == expected


def test_every_pass_is_dumped(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "dump"
    done = python("passes", "--dump", str(folder), given=PAPER)
    assert done.code == 0
    stems = [f"{number:02}-{name}" for number, name in enumerate(TRAIN, start=1)]
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{stem}.{kind}" for stem in stems for kind in ("ir", "dot")
    )
    last = (folder / f"{stems[-1]}.ir").read_text()
    assert last == done.out
    assert all(f"{number:2} {name}" in done.err for number, name in enumerate(TRAIN, start=1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("spilt",), ("unknown pass 'spilt'", "expected some of")),
        (("grad", "--until", "sgd"), ("--until sgd is not among",)),
        (("--devices", "0"), ("--devices",)),
        (("--precision", "fp8"), ("fp8", "fp32")),
        (("sgd",), ("pass 'sgd' needs gradients; run grad first",)),
        (("split", "missing.ir"), ("missing.ir: cannot be read",)),
        (("--dump", "pyproject.toml/x"), ("pyproject.toml/x: cannot be made",)),
    ],
)
def test_wrong_use_is_refused(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert_refused(python("passes", *arguments, given=PAPER), *words)


def test_a_bad_file_is_refused_with_its_line() -> None:
    lines = PAPER.split("\n")
    lines[4] = "  nonsense"
    assert_refused(python("passes", given="\n".join(lines)), "<stdin>:5:", "expected")


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m frontend.alexnet | {sys.executable} -m passes | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "graph alexnet {\n"
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
