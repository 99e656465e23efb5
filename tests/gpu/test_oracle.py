"""The quick oracle is the oracle."""

from random import Random

import numpy as np
import pytest

from ir.eval import run_graph
from tests.closeness import assert_same_results
from tests.gpu.oracle import CONVOLUTIONS, quick_oracle
from tests.op_cases import draw_case

# PyTorch's own warnings are not ours to mend.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

CASES = 20


@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_convolutions(op: str) -> None:
    for seed in range(CASES):
        case = draw_case(op, Random(seed), exact=True)
        with quick_oracle():
            quick = run_graph(case.graph, case.feeds, np.float64)
        assert_same_results(quick, run_graph(case.graph, case.feeds, np.float64), 1e-12)
