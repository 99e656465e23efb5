"""The kernels that say what a GPU can do at most do the work that is counted, and no other."""

import numpy as np
import pytest

from codegen.cuda import disassembler, emulator, toolchain
from codegen.tuning.cuda import ceiling_kernels, products
from ir.command import Error
from tests.closeness import assert_close
from tests.operands import aligned

ONES = {"tf32": 0x3F800000, "bf16": 0x3F803F80}
"""Operands that are 1 everywhere."""


@pytest.mark.skipif(not emulator.available(), reason="no C++ compiler to run CUDA C with")
def test_copies_and_multiply_adds_are_done() -> None:
    block = (ceiling_kernels.THREADS, 1, 1)
    data = aligned(
        np.random.default_rng(0).random(ceiling_kernels.EACH * 4 * block[0] * 3, np.float32)
    )
    copy = aligned(np.zeros_like(data))
    pointers = [data.ctypes.data, copy.ctypes.data]
    emulator.compile(ceiling_kernels.COPY)["copy"]((3, 1, 1), block, pointers)
    assert np.array_equal(copy, data)
    emulator.compile(ceiling_kernels.EMPTY)["nothing"]((1, 1, 1), block, [copy.ctypes.data])
    assert np.array_equal(copy, data)
    sums = aligned(np.zeros(block[0], np.float32))
    emulator.compile(ceiling_kernels.FMA)["multiply_add"]((1, 1, 1), block, [sums.ctypes.data])
    by, rounds = 1 - 1e-7 * np.arange(block[0]), ceiling_kernels.ROUNDS
    each = sum(by**place for place in range(rounds)) * 1e-3
    starts = sum(range(ceiling_kernels.SUMS)) * by**rounds
    assert_close(sums, starts + ceiling_kernels.SUMS * each, 1e-3, "sums")


@pytest.mark.skipif(not emulator.available(), reason="no C++ compiler to run CUDA C with")
@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("form", products.FORMS)
def test_as_many_products_are_added_as_are_counted(form: str, arch: str, order: str) -> None:
    rounds, blocks = 2 * products.FEWER, 2
    ones = aligned(np.full(products.OPERANDS // 4, ONES[form], np.uint32))
    sums = aligned(np.zeros(blocks * 4 * products.THREADS, np.float32))
    kernel = emulator.compile(products.source(form, arch, rounds))["multiply_all"]
    extents, pointers = ((blocks, 1, 1), (products.THREADS, 1, 1)), (ones, sums)
    shared = products.OPERANDS if arch == "sm_90a" else 0
    kernel(*extents, [each.ctypes.data for each in pointers], order=order, shared=shared)
    assert sums.sum() == blocks * products.multiply_adds(form, rounds)
    assert (sums == sums[0]).all()


@pytest.mark.skipif(not disassembler.available(), reason="no nvdisasm")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_90a"])
@pytest.mark.parametrize("form", products.FORMS)
def test_products_are_left_to_tensor_cores(form: str, arch: str) -> None:
    """They stay in registers, and ptxas says nothing of waits that it had to add (C75..)."""
    try:
        compiler = toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    source = products.source(form, arch, ceiling_kernels.PRODUCTS)
    cubin, report = compiler.translate(source, arch)
    assert "0 bytes stack frame, 0 bytes spill stores" in report
    assert "(C75" not in report
    found = disassembler.opcodes(cubin)["multiply_all"]
    opcode = "HGMMA" if arch == "sm_90a" else "HMMA"
    done = [name for name in found if name.startswith(f"{opcode}.")]
    assert done
    assert all(form.upper() in name for name in done)
