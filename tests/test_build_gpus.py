"""codegen.build for GPUs, on a machine that may have none: devices, architectures, files."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from codegen import build, devices
from codegen.assemble import Options, assemble
from codegen.cache import Cache, Compiled, Variant
from codegen.compile import compile_one
from codegen.cuda import toolchain
from codegen.cuda.compiler import Compiler
from codegen.keys import key_of
from codegen.plandiff import differences
from codegen.targets import Cuda
from ir import plan as plans
from ir.command import Error
from ir.plan import Cubin, Cubins, Launch, Plan
from ir.plan.prediction import Prediction
from ir.text import parse
from runtime.cuda.driver import Gpu
from tests.counts import cases
from tests.models import SMALL
from tests.test_build import NETWORK
from tests.uncompiled import skip_compiling

ARCHES = ("sm_80", "sm_90", "sm_90a")
H200, A100 = Gpu("NVIDIA H200", "sm_90a"), Gpu("NVIDIA A100", "sm_80")

Run = Callable[..., Plan]


def here(patch: pytest.MonkeyPatch, *found: Gpu) -> None:
    """Let this machine have these GPUs."""
    patch.setattr(devices, "gpus", lambda: list(found))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Build NETWORK by the command, with kernels that hold nothing; its plan."""
    skip_compiling(monkeypatch)
    monkeypatch.setattr(toolchain, "find", lambda: Compiler("fake 1.0", ARCHES))
    monkeypatch.setattr(devices, "_has_driver", lambda: False)
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    here(monkeypatch)
    network, path = tmp_path / "network.ir", tmp_path / "plan.json"
    network.write_text(NETWORK)

    def command(*options: str) -> Plan:
        monkeypatch.setattr(sys, "argv", ["build", str(network), "-o", str(path), *options])
        build.main()
        return plans.read(path)

    return command


# ---------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("found", "binding", "said"),
    [
        ([], "cpu:0,cpu:1", "no GPU is here; --devices names others"),
        ([H200], "cuda:0,cuda:0", "one GPU is here, NVIDIA H200, for both logical devices"),
        ([H200, A100], "cuda:0,cuda:1", "2 GPUs are here, NVIDIA H200, NVIDIA A100"),
        ([H200] * 8, "cuda:0,cuda:1", "8 GPUs are here"),
    ],
)
def test_without_names_the_build_looks(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: Sequence[Gpu],
    binding: str,
    said: str,
) -> None:
    here(monkeypatch, *found)
    plan = run()
    assert plan.binding == tuple(binding.split(","))
    assert plan.target["kind"] == binding.partition(":")[0]
    (line,) = (x for x in capsys.readouterr().err.splitlines() if x.startswith("building for"))
    assert f"building for {binding.replace(',', ', ')}: {said}" in line


def test_a_driver_without_the_package_for_it_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise Error("cuda.bindings.driver is missing")

    monkeypatch.setattr(devices, "Driver", missing)
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    assert run().binding == ("cpu:0", "cpu:1")
    said = "an NVIDIA driver is here, but cuda.bindings.driver is missing; --devices names others"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("names", ["cuda:0", "cuda:0,cuda:1", "cuda:0,cuda:0", "cuda:3,cuda:1"])
def test_a_build_needs_no_gpu(run: Run, capsys: pytest.CaptureFixture[str], names: str) -> None:
    plan = run("--devices", names, "--arch", "sm_80,sm_90a")
    assert plan.binding == tuple(names.split(","))
    assert "building for" not in capsys.readouterr().err
    assert not plan.library
    expected = {"kind": "cuda", "arch": "sm_80,sm_90a", "compiler": "fake 1.0", "winograd": "fast"}
    assert plan.target == expected


@pytest.mark.parametrize(
    ("options", "winograd"), [(("--exact",), "none"), (("--winograd", "mild"), "mild")]
)
def test_a_plan_says_how_far_it_trades_accuracy(
    run: Run, options: tuple[str, ...], winograd: str
) -> None:
    plan = run("--devices", "cuda:0", "--arch", "sm_80", *options)
    assert plan.target["winograd"] == winograd


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_build_has_the_precision_asked_for(run: Run, precision: str) -> None:
    plan = run("--devices", "cuda:0", "--arch", "sm_80", "--precision", precision)
    assert plan.precision == precision
    dtypes = {a.dtype for kernel in plan.kernels.values() for a in kernel.arguments}
    assert ("bf16" in dtypes) == (precision == "bf16")
    keys = run("--devices", "cuda:0", "--arch", "sm_80").kernels.keys()
    assert (plan.kernels.keys() == keys) == (precision == "fp32")


def test_an_unknown_precision_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--precision", "fp16")
    assert caught.value.code == 2
    assert "argument --precision: invalid choice: 'fp16'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "found", "arches"),
    [
        (("--arch", "sm_80"), [], ["sm_80"]),
        (("--arch", "sm_90a,sm_80,sm_90a"), [H200], ["sm_90a", "sm_80"]),
        ((), [H200], ["sm_90a"]),
        ((), [H200, H200], ["sm_90a"]),
        ((), [A100, H200], ["sm_80", "sm_90a"]),
    ],
)
def test_binaries_are_for_the_architectures_named_or_here(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    found: Sequence[Gpu],
    arches: list[str],
) -> None:
    here(monkeypatch, *found)
    plan = run("--devices", "cuda:0", *arguments)
    for kernel in plan.kernels.values():
        assert isinstance(kernel.code, Cubins)
        assert set(kernel.code.binaries) == set(arches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", "cuda:0"), "no GPU is here; expected --arch, such as sm_80,sm_90a, to bu"),
        (("--devices", "cuda"), "--devices: 'cuda' is no device; expected cpu:0 to cpu:63 or cu"),
        (("--devices", "cuda:64", "--arch", "sm_80"), "'cuda:64' is no device"),
        (("--devices", "cuda:0,cpu:0", "--arch", "sm_80"), "are of several kinds, expected one"),
        (("--devices", "cuda:0", "--arch", "hopper"), "--arch: 'hopper' is no architecture; expe"),
        (("--devices", "cuda:0", "--arch", ""), "--arch: '' is no architecture"),
        (("--devices", "cuda:0", "--arch", "sm_70"), "unknown architecture 'sm_70'; expected of"),
        (("--devices", "cuda:0", "--arch", "sm_80", "--mcpu", "skylake"), "--mcpu: is for CPUs"),
        (("--arch", "sm_80"), "--arch: is for GPUs, and this is for CPUs"),
    ],
)
def test_bad_options_leave_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(Error) as caught:
        run(*arguments)
    assert message in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"network.ir"}


# ---------------------------------------------------------------------------- files


def test_every_file_of_a_plan_is_there_and_no_other(run: Run, tmp_path: Path) -> None:
    """Also after builds for other architectures, and for CPUs, in the same place."""
    builds = (
        ("--devices", "cuda:0,cuda:1", "--arch", "sm_80,sm_90a"),
        ("--devices", "cuda:0,cuda:1", "--arch", "sm_90"),
        ("--devices", "cpu:0,cpu:1"),
        ("--devices", "cuda:0", "--arch", "sm_80"),
    )
    for options in builds:
        plan = run(*options)
        named = files_of(plan) | plan.library
        found = {
            str(path.relative_to(tmp_path / "plan")): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (tmp_path / "plan" / "lib").iterdir()
        }
        assert found == named
        kernels = {path.name for path in (tmp_path / "plan" / "kernels").iterdir()}
        arches = plan.target["arch"].split(",") if plan.binding[0].startswith("cuda") else []
        suffixes = [".ir", *(f".{arch}.cu" for arch in arches)]
        assert kernels == {f"{key}{suffix}" for key in plan.kernels for suffix in suffixes}


def files_of(plan: Plan) -> dict[str, str]:
    named = {}
    for kernel in plan.kernels.values():
        code = kernel.code
        for file in code.binaries.values() if isinstance(code, Cubins) else [code]:
            named[file.file] = file.sha256
    return named


def test_the_target_is_part_of_a_kernels_name() -> None:
    region = parse(NETWORK)
    targets = [
        Cuda(winograd, arches, compiler)
        for winograd in ("none", "fast")
        for arches in (("sm_80",), ("sm_90a",), ("sm_80", "sm_90a"))
        for compiler in ("nvcc 13.0.88", "nvrtc 13.0.88")
    ]
    assert len({key_of(region, target) for target in targets}) == len(targets)


# ---------------------------------------------------------------------------- the cache

small = st.integers(0, 2**40)
launches = st.lists(
    st.builds(
        Launch,
        symbol=st.sampled_from(["kernel_kernel", "kernel_kernel_1"]),
        grid=st.tuples(small, small, small),
        block=st.tuples(small, small, small),
        arguments=st.lists(st.integers(-1, 9)).map(tuple),
        shared=small,
        dynamic=small,
        registers=small,
    )
).map(tuple)
suffixes = st.sampled_from([".so", ".sm_90a.cu", ".sm_80.cubin", ".sm_90a.cubin"])
variants = st.dictionaries(
    st.sampled_from(["sm_80", "sm_90a"]), st.builds(Variant, launches, small)
)
works = st.one_of(st.none(), st.builds(plans.Work, *[small] * len(plans.Work.__struct_fields__)))
kernels = st.builds(
    Compiled,
    st.dictionaries(suffixes, st.binary(max_size=9), min_size=1),
    small,
    small,
    variants,
    works,
)


@cases(full=200, sample=20)
@given(kernel=kernels, data=st.data())
def test_the_cache_gives_what_it_got_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, kernel: Compiled, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cache") / "own"
    cache = Cache(folder)
    assert cache.get("key") is None
    cache.put("key", kernel)
    assert cache.get("key") == kernel
    damaged = data.draw(st.sampled_from(sorted(folder.iterdir())))
    change = data.draw(st.sampled_from([lambda b: b + b"x", lambda b: b"[" + b, None]))
    if change is None:
        damaged.unlink()
    else:
        damaged.write_bytes(change(damaged.read_bytes()))
    assert cache.get("key") is None
    cache.put("key", kernel)
    assert cache.get("key") == kernel


# ---------------------------------------------------------------------------- what is said


@pytest.fixture(scope="module")
def plan() -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        skip_compiling(patch)
        target = Cuda("none", ("sm_80", "sm_90a"), "fake 1.0")
        return assemble(SMALL["paper"](), Options(("cuda:0", "cuda:1"), target)).plan


def test_the_summary_says_what_it_is_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("--devices", "cuda:0,cuda:1", "--arch", "sm_80,sm_90a")
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["devices"] == "cuda:0, cuda:1"
    assert lines["target"] == "cuda, sm_80,sm_90a, fake 1.0, fast"
    assert lines["scratch"] == "64 B for each device"
    assert "on 2 H200-class GPUs (train)" in lines["predicted"]
    run("--devices", "cuda:0,cuda:0", "--arch", "sm_80")
    assert "on 1 H200-class GPU (train)" in capsys.readouterr().out


def test_a_prediction_grows_with_launches_and_shrinks_with_gpus(plan: Plan) -> None:
    def seconds(plan: Plan, *binding: str) -> float:
        return Prediction(plan, binding, 1).timeline(plan.programs["train"]).seconds

    once = seconds(plan, "cuda:0", "cuda:0")
    assert seconds(plan, "cuda:0", "cuda:1") < once
    kernels = {name: twice_launched(plan, name) for name in plan.kernels}
    assert seconds(replace(plan, kernels=kernels), "cuda:0", "cuda:0") > once


def twice_launched(plan: Plan, name: str) -> plans.Kernel:
    cubins = {
        arch: replace(cubin, launches=cubin.launches * 2)
        for arch, cubin in cubins_of(plan.kernels[name]).items()
    }
    return replace(plan.kernels[name], code=Cubins(cubins))


def cubins_of(kernel: plans.Kernel) -> dict[str, Cubin]:
    assert isinstance(kernel.code, Cubins)
    return kernel.code.binaries


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"registers": 64}, "launches[0].registers 32, now 64"),
        ({"shared": 4096}, "launches[0].shared 0, now 4,096"),
        ({"grid": (9, 1, 1)}, "launches[0].grid [1, 1, 1], now [9, 1, 1]"),
    ],
)
def test_a_changed_launch_is_named(plan: Plan, change: dict[str, object], words: str) -> None:
    name, kernel = next(iter(plan.kernels.items()))
    cubins = cubins_of(kernel)
    launch = replace(cubins["sm_80"].launches[0], **change)
    code = Cubins({**cubins, "sm_80": replace(cubins["sm_80"], launches=(launch,))})
    kernels = {**plan.kernels, name: replace(kernel, code=code)}
    (line,) = differences(plan, replace(plan, kernels=kernels))
    assert line == f"kernel {name}: binaries.sm_80.{words}"


def test_other_launches_and_architectures_are_named(plan: Plan) -> None:
    name, kernel = next(iter(plan.kernels.items()))
    cubins = cubins_of(kernel)
    more = {**plan.kernels, name: twice_launched(plan, name)}
    (line,) = differences(plan, replace(plan, kernels=more))
    assert "launches[1].registers nothing, now 32" in line
    fewer = Cubins({"sm_80": cubins["sm_80"]})
    changed = replace(plan, kernels={**plan.kernels, name: replace(kernel, code=fewer)})
    (line,) = differences(plan, changed)
    assert f"binaries.sm_90a.file {cubins['sm_90a'].file}, now nothing" in line


# ---------------------------------------------------------------------------- for real


def test_a_region_is_compiled_by_the_compiler_here() -> None:
    try:
        compiler = toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    target = Cuda("none", ("sm_80", "sm_90a"), compiler.name)
    text = """graph region {
  a0: f32[40,24] = input()
  a1: f32[8,24] = input()
  v0: f32[40,8] = dense(a0, a1)
  output v0
}
"""
    made = compile_one(text, target)
    kinds = ".cubin", ".cu"
    assert set(made.files) == {f".{arch}{kind}" for arch in target.arches for kind in kinds}
    assert made == compile_one(text, target)
