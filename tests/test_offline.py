"""What the tests and the benchmark on a GPU are made of, as far as it works without one."""

import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks import bundle, offline, stages
from benchmarks.contest import Contestant
from codegen.tuning.cuda.single import single
from ir.command import Error
from ir.eval import run_graph
from ir.ops import TABLE
from ir.plan import folder, read
from runtime.devices import open_executor
from tests.built import ONE, built
from tests.closeness import assert_close
from tests.commands import ROOT
from tests.gpu.cases import cases
from tests.gpu.feeds import random_feeds
from tests.gpu.single import arguments, region_of, run
from tests.operands import random_values

# -------------------------------------------------------------------------------- kernels


def test_cases_have_every_op() -> None:
    found = {node.op for graph in cases() for node in graph.nodes if node.inputs}
    assert found == {op for op, row in TABLE.items() if not row.is_leaf} - {"transfer"}


@pytest.mark.full
def test_the_kernels_of_a_plan_run_one_by_one() -> None:
    path = built(devices=ONE) / "plan.json"
    with open_executor(single(read(path)), folder(path)) as executor:
        for name in executor.plan.kernels:
            region = region_of(path, name)
            feeds = random_values(region, Random(name))
            found = run(executor, name, region, arguments(executor.plan, region, feeds))
            expected = run_graph(region, feeds)
            for result, value in (expected.outputs | expected.updates).items():
                assert_close(found[result], value, 1e-4, f"{name}: {result}")


def test_feeds_are_what_a_plan_takes() -> None:
    path = built(devices=ONE) / "plan.json"
    with open_executor(read(path), folder(path)) as executor:
        executor.states.initialise(0)
        for name, program in executor.plan.programs.items():
            for feed, value in random_feeds(program, 1).items():
                executor.feed(name, feed, value)
            outputs = executor.run(name)()
            assert all(np.isfinite(value).all() for value in outputs.values())


# ------------------------------------------------------------------------------ the bundle


@pytest.mark.parametrize(
    "module",
    [
        *("benchmarks.offline", "benchmarks.gpu", "benchmarks.gpu_worker", "codegen.validate"),
        *(f"tests.gpu.{path.stem}" for path in sorted((ROOT / "tests/gpu").glob("test_*.py"))),
    ],
)
def test_what_runs_without_a_compiler_imports_none(module: str) -> None:
    code = f"import sys; sys.modules['tvm'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_all_that_is_carried_is_locked() -> None:
    entries = [entry.partition("==")[0] for entry in bundle._locked()]
    assert sorted(entries) == sorted(bundle.CARRIED)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("no copy elsewhere")
    with pytest.raises(Error, match="is no bundle"):
        bundle._require_ours(tmp_path)
    bundle._require_ours(tmp_path / "new")
    bundle._require_ours(tmp_path / "new")


def test_wheels_for_this_python_are_taken() -> None:
    major, minor = sys.version_info[:2]
    assert offline._suits(f"cp{major}{minor}", f"cp{major}{minor}")
    assert offline._suits("py3", "none")
    assert offline._suits("py2.py3", "none")
    assert offline._suits(f"cp{major}{minor - 1}", "abi3")
    assert not offline._suits(f"cp{major}{minor + 1}", f"cp{major}{minor + 1}")
    assert not offline._suits(f"cp{major}{minor + 1}", "abi3")


def test_a_stage_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        assert stages._run(command, {}, 0.5, log.fileno()) == "none within 0 s"


def test_a_stage_s_tests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_fine(): pass\n"
        "def test_wrong(): assert 1 == 2, 'one is not two'\n"
        "def test_not_here(): pytest.skip('no such machine')\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError('no such file')\n"
        "def test_broken(broken): pass\n"
    )
    results = tmp_path / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={results}", str(tmp_path)]
    with (tmp_path / "log").open("w") as log:
        assert stages._run(command, {}, 60, log.fileno()) == 1
    report = {"exit": 1, "seconds": 1.0, **stages._counted(results)}
    assert not stages.fine(report)
    shown = stages.line(report)
    assert "1 passed, 2 failed, 1 skipped: no such machine" in shown
    assert "FAILED test_wrong" in shown
    assert "FAILED test_broken" in shown


# ------------------------------------------------------------------------------ contestants


def contestant(code: str) -> Contestant:
    return Contestant("someone", [sys.executable, "-c", code], {})


def test_contestants_take_turns() -> None:
    one = contestant("from benchmarks.contest import serve\nserve(lambda: print('not for you'))")
    assert all(one.turn(30.0) >= 0 for _ in range(3))
    one.leave()


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("import time; time.sleep(60)", "did not end within 1 s"),
        ("raise SystemExit('gone')", "stopped"),
        ("print('ready when you are')", "stopped"),
    ],
)
def test_a_contestant_that_fails_is_told(code: str, complaint: str) -> None:
    one = contestant(code)
    with pytest.raises(Error, match=complaint):
        one.turn(1.0 if "sleep" in code else 30.0)
    one.stop()
