"""Products on tensor cores and nothing else, as CUDA C: what a GPU reaches in tf32 and in bf16.

`multiply_all(operands, result)` has blocks of THREADS threads. Each block reads the same OPERANDS
bytes, and each thread stores sums of its own, 16 bytes of them; all sums together are those of
`multiply_adds` products.
"""

from codegen.cuda.products import group_products
from codegen.cuda.source import PROLOGUE, called

FORMS = ("tf32", "bf16")
THREADS = 256
WARP, HELD = 32, 4
"""Threads of a warp; fragments of each operand that a warp multiplies, all by all."""
OPERANDS = 6 * 16 * THREADS
"""Four fragments of 16 rows and four of 8 columns for each warp; or all that groups share."""
GROUPS, HIGH, WIDE, STEPS = 2, 64, 256, 2
"""Of four warps in a block; rows and columns of one product of a group; products in a round."""
LINE, PATTERN, SWIZZLE = 64, 512, 2
"""Bytes of a row, of eight of them, and how their parts are permuted (`matrix_descriptor`)."""

BY_WARPS = """
extern "C" __global__ void __launch_bounds__({THREADS}) multiply_all(const uint4* operands,
                                                                     float4* result) {{
  int t = ((int)threadIdx.x);
  uint4 a[{HELD}];
  uint2 b[{HELD}];
  float4 sums[{HELD} * {HELD}];
  #pragma unroll
  for (int i = 0; i < {HELD}; ++i) a[i] = operands[i * {THREADS} + t];
  #pragma unroll
  for (int i = 0; i < {HELD}; i += 2) {{
    uint4 two = operands[({HELD} + i / 2) * {THREADS} + t];
    b[i] = make_uint2(two.x, two.y);
    b[i + 1] = make_uint2(two.z, two.w);
  }}
  #pragma unroll
  for (int i = 0; i < {HELD} * {HELD}; ++i) sums[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  for (int round = 0; round < {rounds}; ++round) {{
    #pragma unroll
    for (int i = 0; i < {HELD} * {HELD}; ++i)
      multiply_{form}(sums + i, a + i / {HELD}, b + i % {HELD});
  }}
  float4 sum = sums[0];
  #pragma unroll
  for (int i = 1; i < {HELD} * {HELD}; ++i) {{
    sum.x += sums[i].x;
    sum.y += sums[i].y;
    sum.z += sums[i].z;
    sum.w += sums[i].w;
  }}
  result[((int)blockIdx.x) * {THREADS} + t] = sum;
}}
"""
BY_GROUPS = """
extern "C" __global__ void __launch_bounds__({THREADS}, 1) multiply_all(const uint4* operands,
                                                                        float4* result) {{
  extern __shared__ __align__(1024) uint4 shared[];
  int t = ((int)threadIdx.x);
  float sums[{SUMS}];
  #pragma unroll
  for (int i = 0; i < {SUMS}; ++i) sums[i] = 0.0f;
  #pragma unroll
  for (int i = 0; i < {OPERANDS} / (16 * {THREADS}); ++i)
    shared[i * {THREADS} + t] = operands[i * {THREADS} + t];
  show_copies();
  __syncthreads();
  const uint4* a = shared + t / (4 * {WARP}) * ({HIGH} * {LINE} / 16);
  const uint4* b = shared + {GROUPS} * ({HIGH} * {LINE} / 16);
  hold_sums_{SUMS}(sums);
  #pragma unroll 1
  for (int round = 0; round < {rounds}; ++round) {{
    begin_products();
    #pragma unroll
    for (int i = 0; i < {STEPS}; ++i)
      multiply_group_{form}_{WIDE}_00(sums, matrix_descriptor(a + 2 * i, 16, {PATTERN}, {SWIZZLE}),
                                      matrix_descriptor(b + 2 * i, 16, {PATTERN}, {SWIZZLE}));
    commit_products();
    wait_products(1);
  }}
  wait_products(0);
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  #pragma unroll
  for (int i = 0; i < {SUMS}; i += 4) {{
    sum.x += sums[i];
    sum.y += sums[i + 1];
    sum.z += sums[i + 2];
    sum.w += sums[i + 3];
  }}
  result[((int)blockIdx.x) * {THREADS} + t] = sum;
}}
"""
FEWER = 4
"""Rounds by warps for one by groups, which has as many more products."""


def source(form: str, arch: str, rounds: int) -> str:
    """The kernel for an architecture: by groups of warps where it has them (`wgmma`), else by
    warps (`mma.sync`). `rounds` is a multiple of FEWER."""
    groups = arch == "sm_90a"
    sizes = {name: value for name, value in globals().items() if isinstance(value, int)}
    sizes |= {"SUMS": HIGH * WIDE // (4 * WARP), "rounds": rounds // FEWER if groups else rounds}
    code = (BY_GROUPS if groups else BY_WARPS).format(form=form, **sizes)
    return PROLOGUE + called(code) + group_products(code) + code


def multiply_adds(form: str, rounds: int) -> int:
    """Of a block."""
    depth = {"tf32": 8, "bf16": 16}[form]
    return rounds * THREADS // WARP * HELD * HELD * 16 * 8 * depth
