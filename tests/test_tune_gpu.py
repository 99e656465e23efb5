"""The command that measures a GPU, by a simulated clock; builds that use what it keeps."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen import build, devices, tune
from codegen.tuning import records
from codegen.tuning.cuda import ceiling_kernels, ceilings, timing
from codegen.tuning.records import Records
from ir import plan as plans
from ir.command import Error, Exit
from ir.plan import Plan
from runtime.cuda.driver import Gpu
from tests.simulated_clock import simulate, ticking
from tests.test_build import NETWORK
from tests.test_gpu_speeds import CEILINGS, H200

Built = Callable[..., tuple[Plan, str]]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file; this machine seems to have one GPU, and no record."""
    simulate(monkeypatch)
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(records, "SHIPPED", tmp_path / "none")
    monkeypatch.setattr(devices, "gpus", lambda: [H200])
    monkeypatch.setattr(timing, "seconds", ticking)
    monkeypatch.setattr(ceiling_kernels, "build", lambda path, target: None)
    monkeypatch.setattr(ceilings, "measured", lambda path: CEILINGS)
    path = tmp_path / "network.ir"
    path.write_text(NETWORK)
    return path


@pytest.fixture
def built(
    network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Built:
    """A build's plan, and what it prints."""

    def run(arch: str = "sm_90a", *options: str) -> tuple[Plan, str]:
        words = ["--devices", "cuda:0", "--arch", arch, "-o", str(network.parent), *options]
        monkeypatch.setattr(sys, "argv", ["build", str(network), *words])
        capsys.readouterr()
        build.main()
        return plans.read(network.parent / "plan.json"), capsys.readouterr().out

    return run


def tuned(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", *words])
    tune.main()


def contractions(plan: Plan) -> set[str]:
    return {key for key in plan.kernels if key.startswith(("conv", "dense"))}


@pytest.mark.parametrize("what", ["network", "plan"])
def test_the_command_keeps_what_builds_then_use(
    network: Path, monkeypatch: pytest.MonkeyPatch, built: Built, what: str
) -> None:
    before, said = built()
    count = len(contractions(before))
    assert f"0 of {count} measured" in said
    assert before.predicted.origin == "a guess"
    others, _ = built("sm_80")
    built()
    file = {"network": network, "plan": network.parent / "plan.json"}[what]
    tuned(monkeypatch, str(file), "--devices", "1")
    kept = records.read(network.parent / "cache" / "sm_90a.json")
    assert {name.split()[1].split("+")[0] for name in kept.tiles} == {
        key.split("-")[0] for key in contractions(before)
    }
    after, said = built()
    assert f"{count} of {count} measured" in said
    assert "speeds: measured on NVIDIA H200" in said
    assert after.predicted == CEILINGS.speeds(H200)
    assert not contractions(before) & contractions(after)
    assert before.kernels.keys() - contractions(before) == after.kernels.keys() - contractions(
        after
    )
    assert all(after.kernels[key].measured for key in contractions(after))
    assert [len(p.steps) for p in before.programs.values()] == [
        len(p.steps) for p in after.programs.values()
    ]
    assert built("sm_80")[0] == others
    assert built()[0] == after


def test_without_a_file_ceilings_alone_are_measured(
    network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = network.parent / "mine.json"
    tuned(monkeypatch, "-o", str(out))
    assert records.read(out) == Records(CEILINGS.speeds(H200))
    said = capsys.readouterr().out
    assert "one NVIDIA H200 TFLOP/s 64.0 in f32, 400.0 in tf32, 800.0 in bf16; 4000 GB/s" in said
    assert "1.50 us for a launch" in said


def test_some_regions_alone_are_tuned(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned(monkeypatch, str(network), "--only", "dense_dw", "--precision", "bf16")
    kept = records.read(network.parent / "cache" / "sm_90a.json")
    assert {name.split()[2] for name in kept.tiles} == {"bf16"}
    assert all(name.startswith("fast dense_dw") for name in kept.tiles)


def test_a_damaged_record_stops_a_build(network: Path, built: Built) -> None:
    path = network.parent / "cache" / "sm_90a.json"
    path.parent.mkdir(mode=0o700)
    path.write_text("{")
    with pytest.raises(Error, match=r"sm_90a\.json: is no record of sizes.*expected it whole"):
        built()
    assert built("sm_80")


@pytest.mark.parametrize(
    ("options", "gpus", "words"),
    [
        (["--kind", "cuda"], [], "no GPU is here; expected one to measure, its driver and the ex"),
        (["--arch", "sm_90a"], [], "no GPU is here; expected one to measure"),
        (["--arch", "sm_80,sm_90a"], [H200], "sm_80,sm_90a are several; expected the one of NV"),
        (["--arch", "sm_70"], [H200], "unknown architecture 'sm_70'"),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    gpus: list[Gpu],
    words: str,
) -> None:
    monkeypatch.setattr(devices, "gpus", lambda: gpus)
    monkeypatch.setattr(devices, "_has_driver", lambda: False)
    with pytest.raises(Error, match=re.escape(words)) as caught:
        tuned(monkeypatch, str(network), *options)
    assert caught.value.exit == Exit.USAGE
    assert "\n" not in str(caught.value)
    assert not (network.parent / "cache").exists()
