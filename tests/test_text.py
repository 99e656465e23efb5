"""The graph language: what is printed is read back, and a wrong text is one clear error."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from time import process_time
from unittest.mock import patch

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from ir import text as ir_text
from ir.command import run
from ir.graph import Graph, Node, Pair
from ir.ops import apply
from ir.printer import print_graph
from ir.text import parse
from ir.type import DType, IRError, TensorType
from ir.verify import verify
from tests.counts import cases
from tests.graphs import SEEDS, random_graph
from tests.op_cases import draw_program

ROOT = Path(__file__).parent.parent


def program(rng: Random) -> Graph:
    """A network or a mix of all ops, with notes, gradients and updates."""
    graph = random_graph(rng) if rng.random() < 0.5 else draw_program(rng)
    leaves = graph.leaves("param", "state")
    return graph.replace(
        name=rng.choice(("net", "update", "_a.B9")),
        gradients=pairs(rng, graph, [leaf for leaf in leaves if leaf.op == "param"]),
        updates=pairs(rng, graph, leaves),
        notes={key: note(rng, graph) for key in rng.sample(("region", "at", "device"), 2)},
    )


def pairs(rng: Random, graph: Graph, leaves: list[Node] | tuple[Node, ...]) -> list[Pair]:
    chosen = rng.sample(leaves, rng.randint(0, len(leaves)))
    alike = {leaf: [n for n in graph.nodes if n.type == leaf.type] for leaf in chosen}
    return [Pair(leaf, rng.choice(alike[leaf])) for leaf in chosen]


def note(rng: Random, graph: Graph) -> dict[Node, int]:
    chosen = rng.sample(graph.nodes, rng.randint(0, len(graph.nodes)))
    return {node: rng.choice((0, -1, rng.randint(0, 10**17))) for node in chosen}


# ---------------------------------------------------------------------------- round trip


@cases(full=1000, sample=60)
@given(seed=SEEDS)
def test_a_program_is_read_back_as_it_was(seed: int) -> None:
    graph = program(Random(seed))
    verify(graph)
    text = print_graph(graph)
    again = parse(text)
    assert again == graph
    assert print_graph(again) == text


@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_programs_that_differ_are_not_equal(seed: int) -> None:
    rng = Random(seed)
    graph = program(rng)
    lines = print_graph(graph).splitlines()
    statements = lines[1:-1]
    assume(statements)
    del lines[1 + rng.randrange(len(statements))]
    try:
        other = parse("\n".join(lines))
    except IRError:
        reject()
    assert other != graph


@pytest.mark.parametrize(
    "other",
    [
        "graph h {\n  x: f32[2] = param() {at=1}\n  output x\n}",
        "graph g {\n  y: f32[2] = param() {at=1}\n  output y\n}",
        "graph g {\n  x: bf16[2] = param() {at=1}\n  output x\n}",
        "graph g {\n  x: f32[2]@dev0 = param() {at=1}\n  output x\n}",
        "graph g {\n  x: f32[2] = state() {at=1}\n  output x\n}",
        "graph g {\n  x: f32[2] = param(std=1) {at=1}\n  output x\n}",
        "graph g {\n  x: f32[2] = param() {at=2}\n  output x\n}",
        "graph g {\n  x: f32[2] = param() {to=1}\n  output x\n}",
        "graph g {\n  x: f32[2] = param()\n  output x\n}",
        "graph g {\n  x: f32[2] = param() {at=1}\n}",
        "graph g {\n  x: f32[2] = param() {at=1}\n  output x\n  update x = x\n}",
        "graph g {\n  x: f32[2] = param() {at=1}\n  output x\n  gradient x = x\n}",
    ],
)
def test_every_part_of_a_program_counts(other: str) -> None:
    text = "graph g {\n  x: f32[2] = param() {at=1}\n  output x\n}"
    assert parse(text) == parse(text)
    assert parse(text) != parse(other)


def test_spelling_does_not_matter() -> None:
    text = """# a comment, and an empty line

\tgraph   g{   # another
x:f32[ 02 ]@dev01=input( )\r
 y : f32[2]@dev1 = scale ( x , by = 25e-1 ){region=1,at=-2}
output y
 output x
gradient:f32[]=param(decay=1)
output : f32[]=scale(gradient,by=3)
update gradient=output
}"""
    assert print_graph(parse(text)) == (
        "graph g {\n"
        "  x: f32[2]@dev1 = input()\n"
        "  y: f32[2]@dev1 = scale(x, by=2.5) {at=-2, region=1}\n"
        "  gradient: f32[] = param()\n"
        "  output: f32[] = scale(gradient, by=3.0)\n"
        "  output y, x\n"
        "  update gradient = output\n"
        "}\n"
    )


def test_an_empty_program_is_one() -> None:
    assert parse("graph g {\n}") == Graph("g", (), ())


@pytest.mark.parametrize("value", [5e-324, -1.7976931348623157e308, 0.1, 1e16, 123456789.0, 1e-5])
def test_every_digit_of_a_number_survives(value: float) -> None:
    node = apply("constant", name="c", type=TensorType((), DType.F32), value=value)
    again = parse(print_graph(Graph("g", (node,), ())))
    assert again.nodes[0].attrs["value"] == value


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    value = __import__("numpy").float64(0.5)
    node = apply("constant", name="c", type=TensorType((), DType.F32), value=value)
    assert "(value=0.5)" in print_graph(Graph("g", (node,), ()))


@pytest.mark.parametrize("name", ["", "a b", "1a", "a/b", "é", "a" * 129, 'a"', "a\n"])
def test_what_cannot_be_written_is_no_name(name: str) -> None:
    type = TensorType((), DType.F32)
    with pytest.raises(IRError, match="expected a name"):
        apply("input", name=name, type=type)
    with pytest.raises(IRError, match="expected a name"):
        verify(Graph(name, (), ()))
    if name:
        with pytest.raises(IRError, match="expected a name"):
            apply("input", name="x", type=type, of=name)


# ---------------------------------------------------------------------------- malformed texts

Mutation = Callable[[Random, str], str]


def is_definition(line: str) -> bool:
    return ": " in line


def any_line(rng: Random, text: str, which: Callable[[str], bool] = bool) -> tuple[list[str], int]:
    """The lines of a text, and the number of one that fits."""
    lines = text.splitlines()
    fitting = [n for n, line in enumerate(lines) if which(line)]
    return (lines, rng.choice(fitting)) if fitting else reject()


def edited(rng: Random, text: str, pattern: str, *replacements: str) -> str:
    """The text with one match of the pattern replaced."""
    found = list(re.finditer(pattern, text))
    if not found:
        reject()
    match = rng.choice(found)
    return text[: match.start()] + match.expand(rng.choice(replacements)) + text[match.end() :]


def cut_short(rng: Random, text: str) -> str:
    return text[: rng.randrange(len(text) - 2)]


def begun_late(rng: Random, text: str) -> str:
    return text[rng.randrange(1, len(text)) :]


def character(rng: Random) -> str:
    return rng.choice("aZ_09.,:=()[]{}@#\"' \t\n\r\0-+$é٣\u2028\ufeff\U0001f600")


def character_changed(rng: Random, text: str) -> str:
    at = rng.randrange(len(text))
    return text[:at] + character(rng) + text[at + 1 :]


def character_added(rng: Random, text: str) -> str:
    at = rng.randrange(len(text))
    return text[:at] + character(rng) * rng.choice((1, 1, 200)) + text[at:]


def token_dropped(rng: Random, text: str) -> str:
    return edited(rng, text, r"\w+|[:=(),\[\]{}]", "")


def token_doubled(rng: Random, text: str) -> str:
    return edited(rng, text, r"\w+|[:=(),\[\]{}]", r"\g<0> \g<0>")


def wrong_dtype(rng: Random, text: str) -> str:
    return edited(rng, text, r"(?<=: )\w+(?=\[)", "bf16", "u8", "f64", "float32", "")


def wrong_extent(rng: Random, text: str) -> str:
    return edited(rng, text, r"\d+(?=[,\]])", "0", "-1", "7", "2.0", "x", "9" * 18, "1" * 4400)


def wrong_rank(rng: Random, text: str) -> str:
    return edited(rng, text, r"(?<=[a-z\d]\[)", "1,", "1," * 8, "1," * 5000, ",", "[" * 5000)


def wrong_device(rng: Random, text: str) -> str:
    return edited(rng, text, r"\](@\w+)? =", "]@dev7 =", "]@gpu0 =", "]@ =", "]@dev123456 =")


def wrong_op(rng: Random, text: str) -> str:
    return edited(rng, text, r"(?<== )\w+(?=\()", "rleu", "input", "add", "transfer", "state", "1")


def wrong_operand(rng: Random, text: str) -> str:
    return edited(rng, text, r"(?<=[(,]) ?[a-z][\w.]*(?=[,)])", " nowhere", "", " 3", " x.9")


def wrong_attribute(rng: Random, text: str) -> str:
    values = ("-1", "1.5", "[1,2,3]", "[]", '"all"', '"' + "x" * 5000 + '"', "nan", "1e999")
    return edited(
        rng, text, r"(?<=\w=)[^,)=]+(?=[,)])", *values, "9" * 30, "[" + "1," * 5000 + "1]"
    )


def extra_attribute(rng: Random, text: str) -> str:
    return edited(rng, text, r"\)(?= |\n)", ", bogus=1)", ", a.b=2)", ", =1)", ", size=[[1]])")


def renamed(rng: Random, text: str) -> str:
    return edited(rng, text, r"(?<=\n  )[\w.]+(?=:)", "other", "x" * 129, "1x", "graph")


def line_dropped(rng: Random, text: str) -> str:
    lines, at = any_line(rng, text)
    return "\n".join(lines[:at] + lines[at + 1 :])


def line_repeated(rng: Random, text: str) -> str:
    lines, at = any_line(rng, text)
    return "\n".join([*lines[: at + 1], *lines[at:]])


def line_moved(rng: Random, text: str) -> str:
    lines, at = any_line(rng, text)
    line = lines.pop(at)
    return "\n".join([*lines, line]) if rng.random() < 0.5 else "\n".join([line, *lines])


def joined_lines(rng: Random, text: str) -> str:
    return edited(rng, text, "\n", " ")


def wrong_pair(rng: Random, text: str) -> str:
    lines, at = any_line(rng, text, is_definition)
    name = lines[at].split(":")[0].strip()
    statement = rng.choice(("gradient", "update", "output", "result"))
    ending = rng.choice((f"{name} = {name}", f"{name} {name}", name, f"{name} =", "", "w = loss"))
    return "\n".join([*lines[:-1], f"  {statement} {ending}", "}"])


def wrong_note(rng: Random, text: str) -> str:
    lines, at = any_line(rng, text, is_definition)
    note = rng.choice(("{}", "{a}", "{a=}", "{a=x}", "{a=1", "{a=1,}", "{a=1,a=2}", "{{a=1}}", "{"))
    lines[at] = lines[at].split(" {")[0] + " " + note
    return "\n".join(lines)


def deep(rng: Random, text: str) -> str:
    opening, closing = rng.choice(("()", "[]", "{}"))
    return edited(rng, text, r"\(", "(" + opening * 20_000 + closing * 20_000)


def long_line(rng: Random, text: str) -> str:
    return edited(rng, text, r"\(", "(" + "x, " * 500_000)


def twice(rng: Random, text: str) -> str:
    return text + text


def garbage(rng: Random, text: str) -> str:
    noise = rng.randbytes(rng.randint(1, 400)).decode("latin-1")
    return noise if rng.random() < 0.5 else edited(rng, text, "\n", "\n" + noise.replace("\\", ""))


MUTATIONS: list[Mutation] = [
    cut_short, begun_late, character_changed, character_added, token_dropped, token_doubled,
    wrong_dtype, wrong_extent, wrong_rank, wrong_device, wrong_op, wrong_operand, wrong_attribute,
    extra_attribute, renamed, line_dropped, line_repeated, line_moved, joined_lines, wrong_pair,
    wrong_note, deep, long_line, twice, garbage,
]  # fmt: skip


@cases(full=300, sample=40)
@given(seed=SEEDS, mutate=st.sampled_from(MUTATIONS))
def test_a_malformed_text_is_one_error_at_its_line(seed: int, mutate: Mutation) -> None:
    rng = Random(seed)
    text = mutate(rng, print_graph(program(rng)))
    started = process_time()
    try:
        graph = parse(text, "some.ir")
    except IRError as error:
        message = str(error)
    else:
        assert parse(print_graph(graph)) == graph
        reject()
    assert process_time() - started < 1
    found = re.fullmatch(r"some\.ir:(\d+): ([^\n]*)", message)
    assert found
    assert 1 <= int(found[1]) <= text.count("\n") + 1
    assert re.search(r"\bexpected\b", found[2])
    assert len(message) < 1000
    assert command(text) == (2, "", f"error: {message.replace('some.ir', '<stdin>')}\n")


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_every_mutation_breaks_a_program(mutate: Mutation) -> None:
    assert any(is_malformed(mutate, seed) for seed in range(50))


def is_malformed(mutate: Mutation, seed: int) -> bool:
    rng = Random(seed)
    try:
        parse(mutate(rng, print_graph(random_graph(rng))))
    except IRError:
        return True
    return False


def command(text: str | bytes, *options: str) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of `python -m ir.text`, run in this process."""
    raw = text.encode() if isinstance(text, str) else text
    stdin, out, err = io.TextIOWrapper(io.BytesIO(raw)), io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["ir.text", *options]),
        patch.object(sys, "stdin", stdin),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as exit,
    ):
        run(ir_text.main)
    return exit.value.code, out.getvalue(), err.getvalue()


# ---------------------------------------------------------------------------- hostile sizes


@pytest.mark.parametrize(
    "text",
    [
        "(" * 2**24,
        "graph g {\n" + "(" * 4_000_000,
        "graph g {\n  x: f32[" + "1," * 2**21,
        "graph g {\n  x: f32[] = input(of=" + "[" * 2**22,
        "graph g {\n  x: f32[] = constant(value=" + "1" * 2**22,
        "graph g {\n" + "x" * 2**23,
        "x" * (2**24 + 1),
        "graph g {\n"
        + "".join(f"  {'n' * 122}{i:06}: f32[] = input()\n" for i in range(2000))
        + f"  output {'n' * 127}",
    ],
    ids=["signs", "line", "extents", "nesting", "digits", "name", "bytes", "hint"],
)
def test_a_hostile_text_is_refused_in_time(text: str) -> None:
    started = process_time()
    with pytest.raises(IRError, match=r"^<text>:\d+: .*\bexpected\b") as caught:
        parse(text)
    assert process_time() - started < 1
    assert len(str(caught.value)) < 1000


# ---------------------------------------------------------------------------- the command


def test_the_command_formats() -> None:
    assert command("graph g{\n x:f32[]=input()#?\n}") == (
        0, "graph g {\n  x: f32[] = input()\n}\n", ""
    )  # fmt: skip


def test_the_command_only_checks() -> None:
    assert command("graph g {\n}", "--check") == (0, "", "")


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (
            b"graph g {\n  x: f32[] = inptu()\n}",
            "error: {file}:2: unknown op 'inptu', expected one",
        ),
        (b"graph g {\n\xff\xfe", "byte 10 is not UTF-8; expected IR text"),
        (b"", "error: {file}:1: the text ends here, expected a line 'graph NAME {{'"),
        (b"\x7fELF\x02\x01\x01\0", "error: {file}:1: character '\\x7f' in column 1 begins nothing"),
    ],
)
def test_the_command_fails_in_one_line(raw: bytes, error: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.ir"
    path.write_bytes(raw)
    ended = subprocess.run(
        [sys.executable, "-m", "ir.text", path], capture_output=True, text=True, cwd=ROOT
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", ended.stderr)
    assert error.format(file=path) in ended.stderr


def test_the_command_checks_all_laws_of_a_program() -> None:
    code, out, err = command('graph g {\n  s: bf16[4] = state(copies="nothing")\n}')
    assert (code, out) == (2, "")
    assert "nothing" in err


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    code, out, err = command("", str(tmp_path / "none.ir"))
    assert (code, out) == (2, "")
    assert err == f"error: {tmp_path / 'none.ir'}: cannot be read: No such file or directory\n"
