"""Products of four warps together (`wgmma`), which differ by their extents: made as called for.

`hold_sums_COUNT(sums)` has so many sums in registers from here on. Without it the compiler may set
them to zero as late as between two products, which then have to wait for each other.

`multiply_group_FORM_COLUMNS_AB(sums, a, b)` has A = 1 where rows of a lie in memory along rows, 0
where they lie along the sum; B says the same of columns of b (PTX ISA, wgmma.mma_async).
"""

import re

CALL = re.compile(
    # tf32 numbers lie along the sum, or not at all.
    r"\b(?P<name>multiply_group_(?!tf32_\d+_0?1)"
    r"(?P<form>tf32|bf16)_(?P<columns>\d+)_(?P<a>[01])(?P<b>[01]))\("
)
"""A product that a kernel calls."""
HOLD = re.compile(r"\b(hold_sums_(\d+))\(")
"""Sums that it has held."""
_HELD = """\
__device__ __forceinline__ void {name}(void *sums) {{
  float *s = (float *)sums;
  asm volatile("" : {sums} : : "memory");
}}
"""
_STEPS = {"tf32": 8, "bf16": 16}
_TEXT = """\
// sums += a b: 64 x {columns} floats of four warps, each of {steps} products in {form}. Warp w has
// rows 16 w and up, as multiply_{form} has them, in {columns} / 8 fragments. a, b: see
// matrix_descriptor.
__device__ __forceinline__ void {name}(void *sums, unsigned long long a, unsigned long long b) {{
  float *s = (float *)sums;
  asm volatile("{{.reg .pred added; setp.ne.u32 added, %{last}, 0; "
      "wgmma.mma_async.sync.aligned.m64n{columns}k{steps}.f32.{form}.{form} "
      "{{{places}}}, %{a}, %{b}, added, 1, 1{majors};}}"
      : {sums}
      : "l"(a), "l"(b), "r"(1));
}}
"""


def group_products(code: str) -> str:
    """The definitions of those that kernels call."""
    held = (
        _HELD.format(name=name, sums=_sums(int(count)))
        for name, count in dict.fromkeys(HOLD.findall(code))
    )
    made = (_definition(*found) for found in dict.fromkeys(CALL.findall(code)))
    return "".join(f"{text}\n" for text in (*held, *made))


def _definition(name: str, form: str, columns: str, a: str, b: str) -> str:
    count = int(columns) // 2
    return _TEXT.format(
        name=name,
        form=form,
        columns=columns,
        steps=_STEPS[form],
        places=", ".join(f"%{i}" for i in range(count)),
        sums=_sums(count),
        a=count,
        b=count + 1,
        last=count + 2,
        majors=f", {a}, {b}" if form == "bf16" else "",
    )


def _sums(count: int) -> str:
    """Registers that are read and written."""
    return ", ".join(f'"+f"(s[{i}])' for i in range(count))
