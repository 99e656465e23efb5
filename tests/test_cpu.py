"""What TVM is told when it compiles for CPUs."""

from random import Random

import tvm
from hypothesis import given
from hypothesis import strategies as st

from codegen import cpu
from tests import test_contractions, test_kernels
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import Kernel, host
from tests.op_cases import draw_case


@cases(full=60, sample=4)
@given(op=st.sampled_from(test_contractions.OPS), seed=SEEDS)
def test_passes_that_are_left_out_change_no_contraction(op: str, seed: int) -> None:
    node = test_contractions.large(op, Random(seed))
    graph = test_contractions.with_epilogue(node, node.inputs, Random(seed))
    assert_the_same_with_all_passes(Kernel(graph))


@cases(full=60, sample=4)
@given(op=st.sampled_from(test_kernels.OPS), seed=SEEDS)
def test_passes_that_are_left_out_change_no_other_kernel(op: str, seed: int) -> None:
    assert_the_same_with_all_passes(Kernel(draw_case(op, Random(seed), exact=True).graph))


def assert_the_same_with_all_passes(kernel: Kernel) -> None:
    module = tvm.IRModule({"kernel": kernel.built.function})
    every = tvm.compile(module, target=host().tvm())
    some = cpu.machine_code(kernel.built.function, host())
    assert some.mod.inspect_source("ll") == every.mod.inspect_source("ll")
