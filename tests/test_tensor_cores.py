"""The functions of `warp.h` are compiled for GPUs, into the instructions that they stand for."""

import re
from collections import Counter

import pytest

from codegen.cuda import disassembler, toolchain
from codegen.cuda.compiler import Binary
from codegen.cuda.source import called, functions, shortened
from ir.command import Error

ARCHES = ("sm_80", "sm_90a")
HEAD = 'extern "C" __global__ void __launch_bounds__(32) {name}(float* a, float* b)'
BODY = """
  extern __shared__ __align__(64) float s[];
  alignas(64) uint x[4];
  alignas(64) uint y[2];
  alignas(64) float sums[4];
  int t = ((int)threadIdx.x);
  for (int i = 0; i < 4; ++i) {{
    x[i] = i + t;
    sums[i] = 0x0p+0f;
  }}
  y[0] = y[1] = t;
  {call};
  for (int i = 0; i < 4; ++i) {{
    b[t * 4 + i] = sums[i] + __uint_as_float(x[i]) + __uint_as_float(y[i & 1]) + s[t];
  }}
"""
VALUES = "bf16", "larger"
ROUNDED = r"FSETP|F2F\."  # what is infinite stays so
CALLS = {
    "bf16_bits(a[0])": "F2FP.BF16",
    "larger(a[0], a[t])": r"FMNMX\.NAN",
    "copy_async_4(s + t, a + t, 1)": "LDGSTS",
    "copy_async_8(s + t * 2, a + t * 2, t & 1)": r"LDGSTS[.\w]*\.64",
    "copy_async_16(s + t * 4, a + t * 4, t & 1)": r"LDGSTS[.\w]*\.128",
    "commit_copies()": "LDGDEPBAR",
    "wait_copies(0)": "DEPBAR",
    "wait_copies(3)": "DEPBAR",
    "load_matrices((uint4*)x, s + t * 4)": r"LDSM\.16\.M88\.4",
    "load_matrices_transposed((uint4*)x, s + t * 4)": r"LDSM\.16\.MT88\.4",
    "load_matrix_pairs((uint2*)y, s + t * 4)": r"LDSM\.16\.M88\.2",
    "load_matrix_pairs_transposed((uint2*)y, s + t * 4)": r"LDSM\.16\.MT88\.2",
    "round_tf32((uint4*)x)": ROUNDED,
    "round_tf32_pair((uint2*)y)": ROUNDED,
    "multiply_bf16((float4*)sums, (uint4*)x, (uint2*)y)": r"HMMA\.16816\.F32\.BF16",
    "multiply_tf32((float4*)sums, (uint4*)x, (uint2*)y)": r"HMMA\.1688\.F32\.TF32",
    "wait_warp()": "",  # lanes that go together anyway need none
    "put_word(s + t, x[0])": "STS",
    "put_pair(s + t * 2, sums[0], a[t])": r"STS\.64",
    "round_copied_1(s + t)": ROUNDED,
    "round_copied_2(s + t * 2)": ROUNDED,
    "round_copied_4(s + t * 4)": ROUNDED,
}


def text(*calls: str) -> str:
    """Kernels f0, f1 and so on, as TVM prints them, made ready to be compiled."""
    kernels = ""
    for number, call in enumerate(calls):
        head = HEAD.format(name=f"f{number}")
        body = BODY.format(call=f"b[t] = {call}" if call.startswith(VALUES) else call)
        kernels += f"{head};\n{head} {{{body}}}\n"
    return shortened(kernels, noalias=True)


@pytest.fixture(scope="module", params=ARCHES)
def binary(request: pytest.FixtureRequest) -> Binary:
    try:
        return toolchain.find().compile(text(*CALLS), request.param)
    except Error as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def opcodes(binary: Binary) -> dict[str, Counter[str]]:
    return disassembler.opcodes(binary.cubin)


disassembled = pytest.mark.skipif(not disassembler.available(), reason="no nvdisasm")


@disassembled
@pytest.mark.parametrize(("number", "call"), list(enumerate(CALLS)))
def test_a_function_becomes_its_instruction(
    binary: Binary, opcodes: dict[str, Counter[str]], number: int, call: str
) -> None:
    needs = binary.functions[f"f{number}"]
    assert (needs.stack, needs.spills) == (0, 0)
    found = opcodes[f"f{number}"]
    assert any(re.match(CALLS[call], opcode) for opcode in found), found


def definitions(code: str) -> Counter[str]:
    return Counter(re.findall(r"^__device__ __forceinline__ .*?(\w+)\(", code, re.MULTILINE))


@pytest.mark.parametrize("call", CALLS)
def test_a_text_begins_with_what_it_calls(call: str) -> None:
    """Each once, what it calls before it, and nothing else; kernels are still found."""
    name = call.partition("(")[0]
    own, found = called(call), definitions(text(call))
    assert set(found.values()) == {1}
    assert list(found)[-1] == name
    assert all(own.count(f" {each}(") + own.count(f"({each}(") > 1 for each in list(found)[:-1])
    assert list(functions(text(call))) == ["f0"]


def test_a_text_that_calls_nothing_stays_short() -> None:
    assert called("recall_copies(1); my_bf16_bits(2); bf16_bits;") == ""
    assert not definitions(text("s[t] = a[t]"))


def test_what_is_no_machine_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if disassembler.available():
        with pytest.raises(Error, match="cannot read this machine code"):
            disassembler.opcodes(b"none")
    monkeypatch.setattr(disassembler, "_program", lambda: None)
    assert not disassembler.available()
    with pytest.raises(Error, match=r"no nvdisasm; expected the extra 'cuda'"):
        disassembler.opcodes(b"none")
