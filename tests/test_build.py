"""codegen.build: from a network to a plan that keeps every law and computes what it says."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from msgspec.structs import replace

import codegen.assemble
import codegen.compile
import codegen.folder
from codegen import build, validate
from codegen.assemble import Assembled, Options, assemble
from codegen.cache import Cache, Compiled
from codegen.compile import compile_one
from codegen.folder import publish
from codegen.targets import Target
from ir import plan as plans
from ir.command import Error
from ir.graph import Graph
from ir.plan import Library, Move, Plan, Run
from ir.printer import print_graph
from ir.text import parse
from passes.context import Context
from passes.pipeline import TRAIN, run_passes
from runtime.devices import open_executor
from tests import mode
from tests.commands import ROOT, assert_refused, python
from tests.counts import cases
from tests.graphs import networks
from tests.kernels import host
from tests.models import SMALL
from tests.uncompiled import skip_compiling

NETWORK = """graph small {
  images: u8[3,2,6,6] = input()
  labels: i32[3] = input(below=4)
  weights: f32[3] = input()
  seed: u32[] = input()
  step: u32[] = input()
  a.weight: f32[4,2,3,3] = param(std=0.1)
  a.bias: f32[4] = param(value=0.1)
  b.weight: f32[4,64] = param(std=0.1)
  b.bias: f32[4] = param(decay=0)
  x: f32[3,2,6,6] = cast(images, to="f32")
  a: f32[3,4,4,4] = conv(x, a.weight)
  a.biased: f32[3,4,4,4] = bias_add(a, a.bias)
  y: f32[3,4,4,4] = relu(a.biased)
  flat: f32[3,64] = flatten(y)
  dropped: f32[3,64] = dropout(flat, seed, step, p=0.5, stream=0)
  b: f32[3,4] = dense(dropped, b.weight)
  logits: f32[3,4] = bias_add(b, b.bias)
  loss: f32[] = cross_entropy(logits, labels, weights)
  output loss
}
"""


TINY = """graph tiny {
  images: f32[3,6] = input()
  w: f32[4,6] = param(std=0.1)
  x: f32[3,4] = dense(images, w)
  y: f32[3,4] = relu(x)
  output y
}
"""


def in_this_process(
    texts: Mapping[str, str], target: Target, cache: Cache | None
) -> tuple[dict[str, Compiled], int]:
    """In the place of `compile_all`: no other processes."""
    return {key: compile_one(text, target) for key, text in texts.items()}, 0


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(compiling: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """As `compiling`, with libraries that hold nothing."""
    skip_compiling(monkeypatch)
    return compiling


@pytest.fixture
def compiling(forking: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """As `forking`, but in this process, which has TVM at hand."""
    monkeypatch.setattr(codegen.compile, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    return forking


@pytest.fixture
def forking(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Build NETWORK, or another one, by the command; its plan."""
    monkeypatch.setenv("TANDEM_CACHE", str(cache))

    def command(*options: str, text: str = NETWORK, out: str = "plan.json") -> Plan:
        (tmp_path / "network.ir").write_text(text)
        path = tmp_path / out
        devices = [] if "--devices" in options else ["--devices", "cpu:0,cpu:1"]
        words = [*devices, *mode.options(), *options]
        arguments = [str(tmp_path / "network.ir"), "-o", str(path), *words]
        monkeypatch.setattr(sys, "argv", ["build", *arguments])
        build.main()
        return plans.read(path)

    return command


def options(devices: int, accumulate: int = 1) -> Options:
    return Options(tuple(f"cpu:{d}" for d in range(devices)), host(), accumulate)


# ---------------------------------------------------------------------------- what is built


@cases(full=60, sample=6)
@given(networks())
def test_generated_plans_keep_the_laws(graph: Graph) -> None:
    with pytest.MonkeyPatch.context() as patch:
        skip_compiling(patch)
        check_steps(assemble(graph, options(1)))
        check_steps(assemble(graph, options(3, accumulate=4)))
        first, second = (assemble(graph, options(2)) for _ in range(2))
        assert plans.encode(first.plan) == plans.encode(second.plan)
        assert first.files == second.files


def check_steps(assembled: Assembled) -> None:
    """The laws were checked; now each value is written once, and the text of kernels is whole."""
    for name, graph in assembled.programs.items():
        program = assembled.plan.programs[name]
        writes = [w for s in program.steps for w in (s.writes if isinstance(s, Run) else [s.value])]
        assert len(writes) == len(set(writes))
        moved = {step.value for step in program.steps if isinstance(step, Move)}
        assert moved == {node.name for node in graph.nodes if node.op == "transfer"}
        assert {pair.value.name for pair in graph.updates} <= set(writes)
    for text in (f for name, f in assembled.files.items() if name.startswith("kernels/")):
        assert print_graph(parse(text.decode())).encode() == text


@cases(full=12, sample=1)
@given(networks())
def test_generated_plans_equal_the_oracle(
    tmp_path_factory: pytest.TempPathFactory, graph: Graph
) -> None:
    path = tmp_path_factory.mktemp("generated") / "plan.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codegen.assemble, "compile_all", in_this_process)
        assembled = assemble(graph, options(2))
    publish(assembled.plan, path, assembled.files)
    plan = plans.read(path)
    with open_executor(plan, plans.folder(path), threads=2) as executor:
        for name, program in assembled.programs.items():
            assert list(validate.validate(executor, name, program, seed=1))


def test_towers_share_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_compiling(monkeypatch)
    plan = assemble(SMALL["paper"](), options(2)).plan
    runs = [step for step in plan.programs["train"].steps if isinstance(step, Run)]
    devices = {run.kernel: {r.device for r in runs if r.kernel == run.kernel} for run in runs}
    shared = [kernel for kernel in devices if devices[kernel] == {0, 1}]
    assert 2 * len(shared) > len(devices)


# ---------------------------------------------------------------------------- the command


def test_a_second_build_compiles_nothing_and_writes_the_same(
    forking: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = forking()
    first = (tmp_path / "plan.json").read_bytes()
    capsys.readouterr()
    forking()
    shown = capsys.readouterr()
    assert (tmp_path / "plan.json").read_bytes() == first
    assert f"{len(plan.kernels)} for " in shown.out
    assert f" {len(plan.kernels)} from cache" in shown.out
    assert "compiled" not in shown.err
    assert {p.name for p in (tmp_path / "plan").iterdir()} == {
        "evaluate.ir",
        "kernels",
        "lib",
        "train.ir",
    }


def test_compiling_afresh_gives_the_same_plan(compiling: Callable[..., Plan]) -> None:
    assert compiling(text=TINY) == compiling("--no-cache", text=TINY)


def test_a_damaged_cache_entry_is_made_again(
    compiling: Callable[..., Plan], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = compiling("--devices", "cpu:0", text=TINY).kernels
    library, facts = cache / f"{key}.so", cache / f"{key}.json"
    good = library.read_bytes(), facts.read_bytes()
    for damaged, content in ((library, good[0][:-1] + b"x"), (facts, b"{")):
        damaged.write_bytes(content)
        capsys.readouterr()
        compiling("--devices", "cpu:0", text=TINY)
        assert " 0 from cache" in capsys.readouterr().out
        assert (library.read_bytes(), facts.read_bytes()) == good


def test_a_cache_that_others_may_write_is_refused(
    compiling: Callable[..., Plan], cache: Path
) -> None:
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    cache.chmod(0o777)
    try:
        with pytest.raises(Error, match="others may write to it; expected 'chmod 700"):
            compiling()
    finally:
        cache.chmod(0o700)


@pytest.mark.parametrize("names", ["cpu:0", "cpu:0,cpu:1", "cpu:0,cpu:0", "cpu:1,cpu:0,cpu:1"])
def test_devices_bind_logical_to_physical(run: Callable[..., Plan], names: str) -> None:
    plan = run("--devices", names)
    assert plan.binding == tuple(names.split(","))
    assert len(plan.devices) == len(plan.binding)


def test_accumulation_makes_two_programs_that_share_states(run: Callable[..., Plan]) -> None:
    plan = run("--accumulate", "3")
    assert plan.accumulate == 3
    assert set(plan.programs) == {"accumulate", "apply", "evaluate"}
    assert {"a.weight", "a.weight.momentum", "a.weight.sum"} <= {s.logical for s in plan.states}


def test_without_a_loss_only_evaluation_is_built(
    run: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = run(text=NETWORK.replace("output loss", "output logits"))
    assert set(plan.programs) == {"evaluate"}
    assert "cannot be trained" in capsys.readouterr().err


def test_a_constant_that_is_put_out_is_filled(run: Callable[..., Plan]) -> None:
    text = NETWORK.replace("output loss", "c: f32[3,2] = constant(value=2)\n  output loss, c")
    plan = run(text=text)
    assert [fill.tensor.name for fill in plan.programs["train"].fills] == ["c"]


def test_a_placed_program_is_taken_as_it_is(run: Callable[..., Plan]) -> None:
    placed = run_passes(parse(NETWORK), TRAIN[:3], Context(2))
    assert run(text=print_graph(placed)) == run()
    with pytest.raises(Error, match="uses dev1; expected --devices to name at least 2, got 1"):
        run("--devices", "cpu:0", text=print_graph(placed))


def test_what_only_the_old_plan_named_goes(run: Callable[..., Plan], tmp_path: Path) -> None:
    run()
    old = set((tmp_path / "plan" / "lib").iterdir())
    kept = tmp_path / "plan" / "lib" / "mine.so"
    kept.write_text("mine")
    run(
        text=NETWORK.replace("[4,64]", "[5,64]")
        .replace("[3,4] =", "[3,5] =")
        .replace("b.bias: f32[4]", "b.bias: f32[5]")
    )
    new = set((tmp_path / "plan" / "lib").iterdir())
    assert kept in new
    assert old - new
    assert len(list((tmp_path / "plan" / "kernels").iterdir())) == len(new) - 2


def test_a_plan_that_cannot_be_written_leaves_the_old_one_with_its_files(
    run: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def failing(path: Path, chunks: list[bytes]) -> None:
        if path.name == "plan.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        plans.write_whole(path, chunks)

    monkeypatch.setattr(codegen.folder, "write_whole", failing)
    with pytest.raises(Error, match="cannot be written: Permission denied"):
        run("--devices", "cpu:0")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_leaves_the_old_plan(
    run: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    old = run()
    files = {p: p.read_bytes() for p in tmp_path.rglob("plan/**/*") if p.is_file()}
    left = after

    def full(path: Path, chunks: list[bytes]) -> None:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left -= 1
        plans.write_whole(path, chunks)

    monkeypatch.setattr(codegen.folder, "write_whole", full)
    with pytest.raises(Error, match="cannot be written: No space left on device"):
        run("--devices", "cpu:0")
    assert plans.read(tmp_path / "plan.json") == old
    assert {p: p.read_bytes() for p in tmp_path.rglob("plan/**/*") if p.is_file()} == files


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            ("", ""),
            ("--devices", "gpu:0"),
            "'gpu:0' is no device; expected cpu:0 to cpu:63 or cuda",
        ),
        (("", ""), ("--devices", "cpu:64"), "'cpu:64' is no device"),
        (("", ""), ("--devices", ""), "'' is no device"),
        (("", ""), ("--devices", ",".join(["cpu:0"] * 65)), "65 devices, expected at most 64"),
        (
            ("", ""),
            ("--devices", "cpu:0,cuda:0"),
            "cpu:0,cuda:0 are of several kinds, expected one",
        ),
        (("", ""), ("--arch", "sm_80"), "--arch: is for GPUs, and this is for CPUs"),
        (("", ""), ("--mcpu", "abacus"), "unknown processor 'abacus'"),
        (('"f32"', '"bf16"'), (), "network.ir:11: 'x' is written f32"),
        (("relu(", "rely("), (), "network.ir:14: unknown op 'rely'"),
        (("output loss", "output loss\n  gradient b.bias = b.bias"), (), "has gradients already"),
    ],
)
def test_bad_input_leaves_nothing(
    run: Callable[..., Plan],
    tmp_path: Path,
    change: tuple[str, str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(Error) as caught:
        run(*arguments, text=NETWORK.replace(*change))
    assert message in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"network.ir"}


def test_cpus_refuse_other_precisions(run: Callable[..., Plan]) -> None:
    text = NETWORK.replace(
        "a: f32[3,4,4,4] = conv(x, a.weight)", 'a: f32[3,4,4,4] = conv(x, a.weight, math="tf32")'
    )
    with pytest.raises(Error, match="'a' computes in tf32; cpu devices compute in fp32 only"):
        run(text=text)
    for precision in ("tf32", "bf16"):
        with pytest.raises(Error, match=f"--precision {precision}: cpu devices compute in fp32 on"):
            run("--precision", precision)


def test_no_compiler(compiling: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Error, match="no C compiler among cc, gcc, clang; expected one"):
        compiling("--no-cache")


def test_the_command_refuses_as_all_do(tmp_path: Path) -> None:
    out = str(tmp_path / "plan.json")
    assert_refused(python("codegen.build", "-o", out, given="graph {"), "<stdin>:1")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------- validate


def test_validate_names_the_first_divergence(
    compiling: Callable[..., Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compiling()
    monkeypatch.setattr(sys, "argv", ["validate", str(tmp_path / "plan.json"), "--threads", "2"])
    validate.main()
    assert "conv" in capsys.readouterr().out
    text = tmp_path / "plan" / "evaluate.ir"
    text.write_text(text.read_text().replace("by=0.5", "by=0.25"))
    with pytest.raises(validate.Divergence, match=r"evaluate step \d+ .* writes 'dropped.0'"):
        validate.main()


def test_validate_checks_transfers(compiling: Callable[..., Plan], tmp_path: Path) -> None:
    plan = compiling()
    program = plan.programs["evaluate"]
    place = next(i for i, step in enumerate(program.steps) if isinstance(step, Move))
    step = program.steps[place]
    assert isinstance(step, Move)
    wrong = replace(step, source_offset=step.source_offset + 64)
    steps = (*program.steps[:place], wrong, *program.steps[place + 1 :])
    plan = replace(plan, programs={"evaluate": replace(program, steps=steps)})
    graph = parse((tmp_path / "plan" / "evaluate.ir").read_text())
    moved = pytest.raises(validate.Divergence, match=f"step {place} moves another value")
    with open_executor(plan, tmp_path / "plan") as executor, moved:
        list(validate.validate(executor, "evaluate", graph, seed=0))


def test_hashes_in_the_plan_are_those_of_its_files(
    run: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = run()
    codes = [kernel.code for kernel in plan.kernels.values()]
    named = {code.file: code.sha256 for code in codes if isinstance(code, Library)} | plan.library
    assert len(named) == len(plan.kernels) + 1
    for file, sha256 in named.items():
        assert hashlib.sha256((tmp_path / "plan" / file).read_bytes()).hexdigest() == sha256


def test_a_batch_is_what_most_that_is_fed_has() -> None:
    text = NETWORK.replace("{\n", "{\n  mean: f32[7,8] = input()\n", 1)
    assert codegen.assemble._batch(parse(text)) == codegen.assemble._batch(parse(NETWORK)) == 3


def test_values_to_validate_with_follow_from_the_seed_alone() -> None:
    code = (
        "from codegen.validate import _values; from tests.models import SMALL;"
        "print([float(v.sum()) for v in _values(SMALL['paper'](), 3).values()])"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
