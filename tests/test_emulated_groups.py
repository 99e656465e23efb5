"""What four warps multiply together: operands in shared memory, sums that come late."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda import emulator
from codegen.cuda.emulator import Module, Order
from codegen.kernels.cuda.form import BF16, UNIT, Form
from ir.op import Array
from ir.ops.precision import rounded
from tests.canonical import FORMS, MODES, Canonical, layouts
from tests.counts import cases
from tests.test_emulated_warps import cut
from tests.test_emulator import BARRIER, ORDERS, kernel, needs_compiler

SEEDS = st.integers(0, 999)
HIGH = 64
"""Rows of a product."""

PRODUCT = """
  extern __shared__ __align__(1024) float s[];
  int t = ((int)threadIdx.y) * 32 + ((int)threadIdx.x);
  int* g = at + ((int)threadIdx.y) / 4 * 9;
  alignas(64) float sums[{sums}];
  for (int i = t; i < at[0]; i = i + ((int)blockDim.y) * 32) {{
    s[i] = image[i];
  }}
  for (int i = 0; i < {sums}; ++i) {{
    sums[i] = 0x1p+0f;
  }}
  show_copies();
  {barrier}
  hold_sums_{sums}((&(*(float4*)(sums + 0))));
  {body}
  for (int i = 0; i < {sums}; ++i) {{
    o[t * {sums} + i] = sums[i];
  }}
  {after}
"""
MULTIPLY = (
    "begin_products(); multiply_group_{form}_{columns}_{a}{b}((&(*(float4*)(sums + 0))), "
    "matrix_descriptor((&(s[g[1] + {step} * g[2]])), g[3], g[4], at[9 * {groups} + 1]), "
    "matrix_descriptor((&(s[g[5] + {step} * g[6]])), g[7], g[8], at[9 * {groups} + 2])); "
    "commit_products();"
)
WAIT = "wait_products(0);"
OVERWRITE = f"{BARRIER} for (int i = t; i < at[0]; i = i + 128) {{ s[i] = 0x0p+0f; }} {BARRIER}"


@lru_cache
def compiled(form: str, columns: int, a: bool, b: bool, groups: int, body: str) -> Module:
    """Sums begin as 1. `body` says {0}, {1} where the products of the first and second steps are
    begun, and {wait} and so on."""
    multiply = [
        MULTIPLY.format(form=form, columns=columns, a=int(a), b=int(b), step=step, groups=groups)
        for step in (0, 1)
    ]
    text, _, after = body.format(*multiply, wait=WAIT, overwrite=OVERWRITE).partition("STORE")
    parts = {"sums": columns // 2, "barrier": BARRIER, "body": text, "after": after}
    return emulator.compile(kernel("float* image, int* at, float* o", PRODUCT.format(**parts)))


@dataclass(frozen=True)
class Operands:
    """Of each of some groups: `matrices` (rows, steps) and (columns, steps), and how they lie."""

    a: Canonical
    b: Canonical
    matrices: list[tuple[Array, Array]]

    @property
    def form(self) -> Form:
        return self.a.form

    def run(self, body: str, order: Order) -> Array:
        """Each group's sums."""
        columns, count = len(self.matrices[0][1]), len(self.matrices)
        names = self.form.name, columns, self.a.along_rows, self.b.along_rows
        module = compiled(*names, count, body)
        image, at = self._placed()
        found = np.full((count, 4, 8, 4, columns // 8, 2, 2), np.nan, np.float32)
        pointers = [array.ctypes.data for array in (image, at, found)]
        module["f"]((1, 1, 1), (32, 4 * count, 1), pointers, order, image.nbytes)
        # PTX ISA, "Matrix fragments for wgmma": a thread has (column block, row + 8, column).
        return found.transpose(0, 1, 5, 2, 4, 3, 6).reshape(count, HIGH, columns)

    def _placed(self) -> tuple[Array, Array]:
        """Shared memory, and per group the first word, words to the next step, lead and stride of
        a and of b, after the number of words or before the modes."""
        images: list[Array] = []
        at: list[int] = []
        for pair in self.matrices:
            at.append(0)
            for layout, matrix in zip((self.a, self.b), pair, strict=True):
                at.append(sum(map(len, images)) // 4)
                at.append(int(layout.plain(np.array(0), np.array(self.form.step))) // 4)
                at.extend((layout.lead * UNIT, layout.stride * UNIT))
                images.append(layout.memory(matrix, _room(layout, matrix)))
        image = np.concatenate(images)
        at += [0, MODES[self.a.units], MODES[self.b.units]]
        at[0] = len(image) // 4
        return image, np.array(at, np.int32)


def _room(layout: Canonical, matrix: Array) -> int:
    """Whole kilobytes, so that patterns begin where they must."""
    last = int(layout.all(*matrix.shape).max())
    return -(-(last + 1) // 1024) * 1024


def drawn(data: st.DataObject, columns: int, groups: int = 1) -> Operands:
    form, *majors = data.draw(FORMS)
    steps = 2 * form.step
    extents = HIGH, columns
    a, b = (data.draw(layouts(form, major, steps)) for major in majors)
    rng = np.random.default_rng(data.draw(SEEDS))
    pairs = [tuple(_random(rng, form, n, steps) for n in extents) for _ in range(groups)]
    return Operands(a, b, [(left, right) for left, right in pairs])


def _random(rng: np.random.Generator, form: Form, rows: int, steps: int) -> Array:
    values = rng.standard_normal((rows, steps)).astype(np.float32)
    return rounded(values, "bf16") if form is BF16 else values


def expected(operands: Operands, steps: slice) -> Array:
    """1 and the products of some steps; tf32 loses its last bits."""
    whole = (cut(left)[:, steps] @ cut(right)[:, steps].T for left, right in operands.matrices)
    return np.stack([1 + each.astype(np.float64) for each in whole])


def assert_sums(found: Array, reference: Array) -> None:
    assert abs(found - reference).max() < 1e-4


@needs_compiler
@cases(full=60, sample=4)
@given(
    data=st.data(),
    columns=st.sampled_from((32, 64, 256)),
    groups=st.sampled_from((1, 2)),
    order=st.sampled_from(ORDERS),
)
def test_a_product_of_matrices(
    data: st.DataObject, columns: int, groups: int, order: Order
) -> None:
    operands = drawn(data, columns, groups)
    found = operands.run("{0} {1} {wait} STORE", order)
    assert_sums(found, expected(operands, slice(None)))


# ---------------------------------------------------------------------------- waiting

BODIES = {
    "{0} {wait} {overwrite} STORE": True,
    "{0} {overwrite} {wait} STORE": False,
    "{0} STORE {wait}": False,
    "{0} {overwrite} STORE {wait}": False,
}
"""Whether the sums are those of the first steps whatever the order of threads."""


@needs_compiler
@pytest.mark.parametrize("body", BODIES)
@cases(full=10, sample=1)
@given(data=st.data())
def test_products_are_done_when_waited_for(body: str, data: st.DataObject) -> None:
    """What is read too early, or overwritten, differs between early and late products."""
    operands = drawn(data, 32)
    early, late = (operands.run(body, order) for order in ORDERS)
    reference = expected(operands, slice(operands.form.step))
    assert_sums(early, reference)
    if BODIES[body]:
        assert_sums(late, reference)
    else:
        assert abs(late - reference).max() > 0.1


LATEST = "{0} {1} wait_products(1); {overwrite} {wait} STORE"


@needs_compiler
@cases(full=20, sample=2)
@given(data=st.data())
def test_the_latest_group_is_not_waited_for(data: st.DataObject) -> None:
    operands = drawn(data, 32)
    assert_sums(operands.run(LATEST, "forward"), expected(operands, slice(None)))
    assert_sums(operands.run(LATEST, "backward"), expected(operands, slice(operands.form.step)))
