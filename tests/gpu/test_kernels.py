"""Every kernel of every plan equals the oracle on a GPU, on fresh random values."""

import secrets
from pathlib import Path
from random import Random

import numpy as np
import pytest

from codegen import tolerance
from ir.eval import Float
from ir.graph import Graph
from ir.op import Array
from tests.gpu.conftest import Singles, fill_scratch
from tests.gpu.oracle import quick_oracle
from tests.gpu.single import arguments, region_of, run
from tests.operands import random_values

# PyTorch's own warnings are not ours to mend.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

LEAST = 16 * float(np.finfo(np.float32).eps)
"""Functions are within some units of their last place, whatever the number of terms."""


def test_equals_the_oracle(kernel: tuple[Path, str], singles: Singles) -> None:
    path, name = kernel
    region, executor, seed = region_of(path, name), singles.open(path), secrets.randbits(32)
    feeds = random_values(region, Random(seed))
    given = arguments(executor.plan, region, feeds)
    fill_scratch(executor, name, 0xFF)
    found = run(executor, name, region, given)
    fill_scratch(executor, name, 0x3F)
    again = run(executor, name, region, given)
    expected, roundings = _results(region, feeds, np.float64), tolerance.roundings(region)
    for result, value in found.items():
        assert value.tobytes() == again[result].tobytes(), f"{result}: differs between runs"
        meant, turns = expected[result], roundings[result]
        error = tolerance.error(value, meant, turns)
        bound = max(LEAST, tolerance.bound(region, meant, turns))
        if not error <= bound:
            # Where numbers cancel, NumPy's own error in float32 says what can be done.
            single = _results(region, feeds, np.float32)[result]
            bound = max(bound, 8 * tolerance.error(single, meant, turns))
        assert error <= bound, f"{result}: error {error:.2e}, expected <= {bound:.2e}; seed {seed}"


def _results(region: Graph, feeds: dict[str, Array], precision: Float) -> dict[str, Array]:
    with quick_oracle():
        return tolerance.meant(region, feeds, precision)
