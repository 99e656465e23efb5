"""Machine code of what four warps multiply together, and of whole contractions."""

import re
from random import Random

import pytest
from hypothesis import given

from codegen.cuda import disassembler, toolchain
from codegen.cuda.compiler import Binary, Compiler
from codegen.cuda.generated import generated
from codegen.cuda.source import shortened
from codegen.kernels import build
from codegen.kernels.cuda.writer import Built
from codegen.targets import Cuda
from ir.command import Error
from tests.counts import cases, sampled
from tests.graphs import SEEDS
from tests.kernels import as_region
from tests.test_contractions import large, with_epilogue
from tests.test_tensor_contractions import in_form
from tests.test_tensor_cores import disassembled


def compiler() -> Compiler:
    try:
        return toolchain.find()
    except Error as error:
        pytest.skip(str(error))


def compiled(source: str, arch: str) -> Binary:
    return compiler().compile(source, arch)


def report(source: str) -> str:
    return compiler().translate(source, "sm_90a")[1]


# ---------------------------------------------------------------------------- four warps

HEAD = 'extern "C" __global__ void __launch_bounds__(128) f0(float* a, float* b)'
GROUPS = """
  extern __shared__ __align__(64) float s[];
  alignas(64) float sums[{sums}];
  int t = ((int)threadIdx.x);
  for (int i = 0; i < {sums}; ++i) {{
    sums[i] = 0x0p+0f;
  }}
  s[t] = a[t];
  show_copies();
  __syncthreads();
  hold_sums_{sums}((&(*(float4*)(sums + 0))));
  for (int i = 0; i < ((int)gridDim.x); ++i) {{
    {meddled}
    begin_products();
    multiply_group_{product}((&(*(float4*)(sums + 0))),
        matrix_descriptor(s, 1024, 512, 2), matrix_descriptor(s + 1024, 1024, 512, 2));
    commit_products();
    wait_products(1);
  }}
  wait_products(0);
  for (int i = 0; i < {sums}; ++i) {{
    b[t * {sums} + i] = sums[i];
  }}
"""
COLUMNS = (32, 64, 96, 128, 192, 256)
PRODUCTS = [
    *(f"bf16_{columns}_{majors}" for columns in COLUMNS for majors in ("00", "01", "10", "11")),
    *(f"tf32_{columns}_00" for columns in COLUMNS),
]
SERIALIZED = re.compile(r"C75\d\d[^\n]*")
"""What ptxas says of products that wait for each other."""


def of_group(product: str, meddled: str = "") -> str:
    """A kernel whose products are under way while the loop goes on."""
    body = GROUPS.format(product=product, sums=int(product.split("_")[1]) // 2, meddled=meddled)
    return shortened(f"{HEAD};\n{HEAD} {{{body}}}\n", noalias=True)


@disassembled
@pytest.mark.parametrize("product", sampled(PRODUCTS, "bf16_64_01", "bf16_256_10", "tf32_32_00"))
def test_four_warps_multiply_by_one_instruction(product: str) -> None:
    binary = compiled(of_group(product), "sm_90a")
    needs = binary.functions["f0"]
    assert (needs.stack, needs.spills) == (0, 0)
    form, columns, majors = product.split("_")
    steps = {"bf16": 16, "tf32": 8}[form]
    found = re.findall(r"(HGMMA\S*) \w+, gdesc\[\w+\](\S*),", disassembler.listing(binary.cubin))
    turned = "".join(f".tnsp{x}" for x, major in zip("AB", majors, strict=True) if major == "1")
    assert set(found) == {(f"HGMMA.64x{columns}x{steps}.F32.{form.upper()}", turned)}
    opcodes = set(disassembler.opcodes(binary.cubin)["f0"])
    assert {"WARPGROUP.ARRIVE", "WARPGROUP.DEPBAR.LE", "FENCE.VIEW.ASYNC.S"} <= opcodes


def test_products_overlap_where_nothing_touches_their_sums() -> None:
    assert not SERIALIZED.findall(report(of_group("bf16_64_00")))
    assert SERIALIZED.findall(report(of_group("bf16_64_00", meddled="sums[0] += a[i];")))


@pytest.mark.parametrize("product", ["tf32_64_01", "tf32_64_10", "bf16_60_00", "bf16_264_00"])
def test_what_no_gpu_multiplies_is_refused(product: str) -> None:
    compiler()
    with pytest.raises(Error, match="refuses the source"):
        compiled(of_group(product), "sm_90a")


# ---------------------------------------------------------------------------- contractions

IN_GROUPS = (
    *(("conv", "bf16"), ("conv_dx", "bf16"), ("conv_dw", "bf16"), ("dense", "bf16")),
    *(("dense_dw", "tf32"), ("conv_dw", "tf32")),
)
"""Operations and forms; tf32 only where memory runs along the sum."""
CONTRACTIONS = (*IN_GROUPS, ("conv", "tf32"), ("dense", "tf32"))
EVEN = (2, 32, 70, 128)
"""Images: of bf16 nothing less than a pair is copied asynchronously."""


def cuda_c(op: str, form: str, arch: str, seed: int) -> str:
    """Of a contraction that is drawn, in the tile chosen for it."""
    rng = Random(seed)
    node = in_form(large(op, rng, EVEN), form)
    region = as_region(with_epilogue(node, node.inputs, rng)).graph
    target = Cuda(winograd="none", arches=(arch,), compiler="")
    built = build(region, target)
    assert isinstance(built, Built)
    return generated(built, region, target).text


@disassembled
@pytest.mark.parametrize(("op", "form"), sampled(IN_GROUPS, ("conv", "bf16"), ("dense_dw", "tf32")))
@cases(full=4, sample=1)
@given(seed=SEEDS)
def test_groups_of_warps_multiply_contractions(op: str, form: str, seed: int) -> None:
    """Copies are asynchronous and seen, products overlap; warps multiply nothing alone."""
    text = cuda_c(op, form, "sm_90a", seed)
    cubin, said = compiler().translate(text, "sm_90a")
    found = " ".join(disassembler.opcodes(cubin)["kernel_kernel"])
    assert not SERIALIZED.findall(said)
    copies = "UTMALDG" if "copy_box" in text else "LDGSTS"
    for opcode in ("HGMMA", copies, "FENCE.VIEW.ASYNC", "WARPGROUP.DEPBAR"):
        assert opcode in found
    for opcode in ("HMMA", "LDSM"):
        assert opcode not in found
    # A copy whose lane the compiler does not know is done in a loop over all lanes.
    assert found.count("BRA.U.ANY") == 0


@disassembled
@pytest.mark.parametrize(("op", "form"), sampled(CONTRACTIONS, ("conv_dx", "bf16")))
@cases(full=4, sample=1)
@given(seed=SEEDS)
def test_warps_multiply_contractions(op: str, form: str, seed: int) -> None:
    """Matrices are loaded as such, where memory allows."""
    cubin = compiled(cuda_c(op, form, "sm_80", seed), "sm_80").cubin
    found = " ".join(disassembler.opcodes(cubin)["kernel_kernel"])
    for opcode in ("HMMA", "LDGSTS"):
        assert opcode in found
    # No instruction transposes words.
    assert ("LDSM" in found) == ((op, form) in IN_GROUPS)
