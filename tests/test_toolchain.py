"""CUDA C becomes binaries with either compiler, and what they say of it holds."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda.compiler import Compiler, Resources
from codegen.cuda.toolchain import VARIABLE, find
from ir.command import Error
from tests.counts import cases

ARCHES = ("sm_80", "sm_90a")


@pytest.fixture(params=["nvcc", "nvrtc"], scope="module")
def compiler(request: pytest.FixtureRequest) -> Compiler:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, request.param)
        try:
            return find.__wrapped__()
        except Error as error:
            pytest.skip(str(error))


def kernel(name: str, body: str, threads: int = 32) -> str:
    return (
        f'extern "C" __global__ void __launch_bounds__({threads}) {name}'
        f"(float* __restrict__ x, float* __restrict__ y) {{ {body} }}\n"
    )


def exchange(name: str, floats: int) -> str:
    """A kernel of so many floats of shared memory."""
    return kernel(
        name,
        f"__shared__ alignas(64) float s[{floats}]; s[threadIdx.x % {floats}] = x[threadIdx.x];"
        f"__syncthreads(); y[threadIdx.x] = s[(int)x[0] % {floats}];",
    )


def pointwise(expression: str) -> str:
    return kernel("f", f"int i = threadIdx.x; y[i] = {expression};")


SMALL = pointwise("x[i] + x[i + 32]")
INDEXED = kernel(
    "f",
    "float t[64]; for (int i = 0; i < 64; ++i) t[i] = 0.0f;"
    "for (int i = 0; i < 999; ++i) t[(int)x[i] & 63] += x[i];"
    "for (int i = 0; i < 64; ++i) y[i] = t[i];",
)
CROWDED = kernel(
    "f",
    "float t[128]; for (int i = 0; i < 128; ++i) t[i] = x[i * 1024 + threadIdx.x];"
    "for (int i = 0; i < 128; ++i) y[i * 1024 + threadIdx.x] = t[i] * t[127 - i];",
    threads=1024,
).replace("__restrict__ ", "")

# ---------------------------------------------------------------------------- binaries


@cases(full=30, sample=4)
@given(st.sampled_from(ARCHES), st.lists(st.integers(1, 12288), min_size=1, max_size=6))
def test_every_kernel_is_made_and_reported(
    compiler: Compiler, arch: str, shared: Sequence[int]
) -> None:
    names = [f"kernel_{place}" for place in range(len(shared))]
    source = "".join(map(exchange, names, shared))
    binary = compiler.compile(source, arch)
    assert {name: needs.shared for name, needs in binary.functions.items()} == {
        name: 4 * floats for name, floats in zip(names, shared, strict=True)
    }
    assert all(needs.stack == needs.spills == 0 for needs in binary.functions.values())


@pytest.mark.parametrize("arch", ARCHES)
def test_memory_of_threads_is_reported(compiler: Compiler, arch: str) -> None:
    small, indexed, crowded = (
        compiler.compile(source, arch).functions["f"] for source in (SMALL, INDEXED, CROWDED)
    )
    assert (small.stack, small.spills) == (0, 0)
    assert (indexed.stack, indexed.spills) == (256, 0)
    assert crowded.spills > 0
    assert small.registers < crowded.registers <= 64


def test_the_same_source_gives_the_same_bytes(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = {arch: compiler.compile(CROWDED, arch) for arch in ARCHES}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "--use_fast_math")
    monkeypatch.setenv("NVCC_PREPEND_FLAGS", "--maxrregcount=24")
    assert {arch: compiler.compile(CROWDED, arch) for arch in ARCHES} == binaries
    assert len({binary.cubin for binary in binaries.values()}) == len(ARCHES)


@pytest.mark.parametrize(
    ("accurate", "fast"),
    [
        ("x[i] / y[i]", "__fdividef(x[i], y[i])"),
        ("sqrtf(x[i])", "x[i] * rsqrtf(x[i])"),
        ("expf(x[i])", "__expf(x[i])"),
        ("logf(x[i])", "__logf(x[i])"),
    ],
)
def test_arithmetic_is_accurate(compiler: Compiler, accurate: str, fast: str) -> None:
    exact, rough = (compiler.compile(pointwise(each), "sm_80") for each in (accurate, fast))
    assert len(exact.cubin) > len(rough.cubin)


def test_products_are_added_without_rounding(compiler: Compiler) -> None:
    written, fused = (
        compiler.compile(pointwise(each), "sm_90a")
        for each in ("x[i] * x[i] + y[i]", "fmaf(x[i], x[i], y[i])")
    )
    assert written == fused


@cases(full=25, sample=3)
@given(st.data())
def test_listed_architectures_compile(compiler: Compiler, data: st.DataObject) -> None:
    assert set(ARCHES) <= set(compiler.arches)
    arch = data.draw(st.sampled_from(compiler.arches))
    assert compiler.compile(SMALL, arch).functions.keys() == {"f"}


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("arch", ["sm_20", "sm_80a", "sm_90f", "sm_9", "90a", "compute_80", ""])
def test_unknown_architectures_are_named(compiler: Compiler, arch: str) -> None:
    with pytest.raises(Error, match=f"'{arch}', expected .*sm_80, .*sm_90a, ") as caught:
        compiler.compile(SMALL, arch)
    assert str(caught.value).startswith(f"{compiler.name} does not know")


def test_a_wrong_source_is_shown(compiler: Compiler) -> None:
    wrong = "".join(pointwise(f"wrong_{line}").replace("f(", f"f{line}(") for line in range(50))
    with pytest.raises(Error, match=r'for sm_80 refuses the source:\n.*"wrong_0"') as caught:
        compiler.compile(wrong, "sm_80")
    assert "kernel.cu(1): error" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 10


def test_a_source_without_kernels_is_refused(compiler: Compiler) -> None:
    with pytest.raises(Error, match="has no kernel, expected one or more"):
        compiler.compile("__device__ float f(float x) { return x; }", "sm_80")


@dataclass(frozen=True)
class Broken(Compiler):
    """Returns what it was given."""

    cubin: bytes
    report: str

    def translate(self, source: str, arch: str) -> tuple[bytes, str]:
        return self.cubin, self.report


REPORT = """ptxas info    : Compiling entry function 'f' for 'sm_80'
ptxas info    : Function properties for f
    8 bytes stack frame, 3 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 12 bytes smem, 368 bytes cmem[0]
"""


def test_what_a_compiler_left_out_is_noticed() -> None:
    cubin = b"\x7fELF....\0.text.f\0"
    complete = Broken("broken 1.0", ARCHES, cubin, REPORT).compile(SMALL, "sm_80")
    assert complete.functions == {"f": Resources(registers=10, shared=12, stack=8, spills=7)}
    for made, report, complaint in (
        (b"// PTX", REPORT, r"made b'// P'\.\.\., expected an ELF file"),
        (cubin.replace(b".f", b".g"), REPORT, "made a binary without the kernel f"),
        (cubin, REPORT.replace("'f'", "'g'"), "did not report what the kernel f takes"),
        (cubin, "", "did not report what the kernel f takes"),
    ):
        with pytest.raises(Error, match=f"broken 1.0 for sm_80 {complaint}"):
            Broken("broken 1.0", ARCHES, made, report).compile(SMALL, "sm_80")


# ---------------------------------------------------------------------------- which compiler


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without programs and settings."""
    for name in (VARIABLE, "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    return monkeypatch


def without_nvrtc(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "cuda.bindings.nvrtc", None)


def fake_nvcc(home: Path, rest: str) -> Path:
    """A toolkit that knows its version and architectures, and fails at all else."""
    program = home / "bin" / "nvcc"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '--version) echo "Cuda compilation tools, release 42.1, V42.1.7" ;;\n'
        "--list-gpu-code) echo sm_90; echo sm_100 ;;\n"
        f"*) {rest} ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return home


def test_without_any_both_cures_are_named(bare: pytest.MonkeyPatch) -> None:
    without_nvrtc(bare)
    with pytest.raises(Error, match=r"'tandem\[cuda\]'; nvcc: .*install a CUDA toolkit"):
        find.__wrapped__()


@pytest.mark.parametrize("name", ["nvcc", "nvrtc"])
def test_only_the_chosen_one_is_looked_for(bare: pytest.MonkeyPatch, name: str) -> None:
    without_nvrtc(bare)
    bare.setenv(VARIABLE, name)
    with pytest.raises(Error, match=f"^no compiler of CUDA C; {name}: [^:]*") as caught:
        find.__wrapped__()
    assert str(caught.value).count("nvcc:") + str(caught.value).count("nvrtc:") == 1


def test_an_unknown_choice_is_refused(bare: pytest.MonkeyPatch) -> None:
    bare.setenv(VARIABLE, "clang")
    with pytest.raises(Error, match=f"{VARIABLE} is 'clang', expected nvrtc or nvcc"):
        find.__wrapped__()


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH", "PATH"])
def test_nvcc_is_found_in_the_toolkit(
    bare: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    without_nvrtc(bare)
    home = fake_nvcc(tmp_path / "toolkit", 'echo made > "$PWD/kernel.cubin"')
    bare.setenv(variable, str(home / "bin" if variable == "PATH" else home))
    found = find.__wrapped__()
    assert found.name == "nvcc 42.1.7"
    assert found.arches == ("sm_90", "sm_90a", "sm_100", "sm_100a", "sm_100f")


def test_nvcc_that_cannot_work_is_passed_over(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = fake_nvcc(tmp_path, "echo 'gcc: No such file or directory' >&2; exit 1")
    bare.setenv("CUDA_HOME", str(home))
    with pytest.MonkeyPatch.context() as patch:
        without_nvrtc(patch)
        with pytest.raises(Error, match=r"nvrtc: .*; nvcc: .*\ngcc: No such file"):
            find.__wrapped__()
    pytest.importorskip("cuda.bindings.nvrtc", reason="the extra cuda is not installed: make cuda")
    assert find.__wrapped__().name.startswith("nvrtc ")


def test_nvrtc_needs_nothing_else(bare: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="the extra cuda is not installed: make cuda")
    for name in set(os.environ) - {"PATH"}:
        bare.delenv(name)
    assert find.__wrapped__().compile(SMALL, "sm_90a").functions.keys() == {"f"}
