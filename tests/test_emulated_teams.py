"""What is wrong with what four warps do together is said."""

import re
from functools import partial

import numpy as np
import pytest

from codegen.cuda import emulator
from codegen.cuda.emulator import Order
from ir.command import Error
from tests.test_emulated_groups import HIGH, WAIT
from tests.test_emulator import BARRIER, ORDERS, kernel, launch, needs_compiler

SOME = "multiply_group_bf16_32_00(sums, 0, 0);"
TOGETHER = ("begin_products();", "commit_products();", WAIT, SOME)


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("call", TOGETHER)
def test_a_missing_warp_is_reported(call: str, order: Order) -> None:
    lines = (
        "float sums[16];",
        "if (((int)threadIdx.y) != 2) {",
        call,
        "}",
        BARRIER,
        "if (a[0] == 1) {",
        SOME,
        "}",
    )
    module = emulator.compile(kernel("float* a", "\n".join(lines)))
    complaint = (
        "96 of its four warps' 128 lanes wait for the others in line 5, while others wait in line "
        "7; expected all lanes at what they do together"
    )
    with pytest.raises(Error, match=re.escape(complaint)):
        launch(module, (1, 1, 1), (32, 8, 1), np.zeros(1), order=order)


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("warps", [1, 2, 6])
def test_part_of_a_group_is_refused(warps: int, order: Order) -> None:
    lines = f"float sums[16]; if (((int)threadIdx.y) >= a[0]) {{ {SOME} }}"
    module = emulator.compile(kernel("float* a", lines))
    given = np.full(1, warps // 4 * 4, np.float32)
    with pytest.raises(Error, match="fewer than four; expected full groups of four warps"):
        launch(module, (1, 1, 1), (32, warps, 1), given, order=order)


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_more_warps_do_something_else(order: Order) -> None:
    """A warp beside a group is no part of it."""
    lines = (
        "float sums[16];",
        f"if (((int)threadIdx.y) < 4) {{ begin_products(); if (a[0] == 1) {{ {SOME} }} }}",
        "if (((int)threadIdx.y) == 4) { a[0] = 7; }",
    )
    module, given = emulator.compile(kernel("float* a", "\n".join(lines))), np.zeros(1, np.float32)
    launch(module, (1, 1, 1), (32, 5, 1), given, order=order)
    assert given[0] == 7


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_warps_of_a_group_run_apart(order: Order) -> None:
    """A warp that waits for its own lanes does not wait for the other three."""
    lines = (
        "__shared__ alignas(64) float s[128];",
        "float sums[16]; int w = ((int)threadIdx.y);",
        "int t = w * 32 + ((int)threadIdx.x);",
        "s[t] = a[t];",
        "wait_warp();",
        "o[t] = s[t ^ 32];",
        f"if (a[0] == 1) {{ {SOME} }}",
    )
    module = emulator.compile(kernel("float* a, float* o", "\n".join(lines)))
    given, found = np.arange(2, 130, dtype=np.float32), np.zeros(128, np.float32)
    launch(module, (1, 1, 1), (32, 4, 1), given, found, order=order)
    read = given[np.arange(128) ^ 32].reshape(4, 32)
    late = np.array([1, 3] if order == "forward" else [0, 2])
    assert np.array_equal(found.reshape(4, 32)[late], read[late])
    assert np.isnan(found.reshape(4, 32)[late ^ 1]).all()


@needs_compiler
@pytest.mark.parametrize("function", ["tf32_32_10", "tf32_32_01", "tf32_32_11", "bf16_36_00"])
def test_what_no_gpu_multiplies_is_refused(function: str) -> None:
    """tf32 lies along the sum; columns come in blocks of eight."""
    text = f"float sums[64]; multiply_group_{function}(sums, 0, 0);"
    with pytest.raises(Error, match="cannot compile this CUDA C for the host"):
        emulator.compile(kernel("float* o", text))


@needs_compiler
def test_operands_lie_in_shared_memory() -> None:
    at = "matrix_descriptor(s, 16, 512, 2)"
    lines = (
        "extern __shared__ __align__(1024) float s[];",
        "float sums[16];",
        f"multiply_group_bf16_32_00(sums, {at}, {at});",
    )
    module = emulator.compile(kernel("float* o", "\n".join(lines)))
    run = partial(module["f"], (1, 1, 1), (32, 4, 1), [np.zeros(1).ctypes.data], "forward")
    run(HIGH * 64)
    with pytest.raises(Error, match="does not lie in shared memory"):
        run(HIGH * 64 - 64)


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_lanes_agree_on_what_they_multiply(order: Order) -> None:
    lines = (
        "extern __shared__ __align__(1024) float s[];",
        "float sums[16]; int warp = ((int)threadIdx.y);",
        "uint64_t other = warp == 6 ? 1 : 0;",
        "multiply_group_bf16_32_00(sums, matrix_descriptor(s, 16, 512, 2) + other, 0);",
    )
    module = emulator.compile(kernel("float* o", "\n".join(lines)))
    with pytest.raises(Error, match=r"thread \(\d+, [4-7], 0\): .*expected one pair of matrices"):
        module["f"]((1, 1, 1), (32, 8, 1), [np.zeros(1).ctypes.data], order, 1 << 16)
