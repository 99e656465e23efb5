"""The quick oracle is the oracle."""

from random import Random
from typing import Any

import numpy as np
import pytest

from ir.eval import run_graph
from ir.graph import Graph
from ir.ops import apply
from tests.closeness import assert_same_results
from tests.gpu.oracle import CONVOLUTIONS, quick_oracle
from tests.op_cases import draw_case

# PyTorch's own warnings are not ours to mend.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

CASES = 20


@pytest.mark.parametrize("math", ["f32", "tf32"])
@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_convolutions(op: str, math: str) -> None:
    for seed in range(CASES):
        case = draw_case(op, Random(seed), exact=True)
        attrs: dict[str, Any] = {**case.node.attrs, "math": math}
        node = apply(op, *case.node.inputs, name=op, **attrs)
        graph = Graph("one", (*dict.fromkeys(node.inputs), node), (node,))
        with quick_oracle():
            quick = run_graph(graph, case.feeds, np.float64)
        assert_same_results(quick, run_graph(graph, case.feeds, np.float64), 1e-12)
