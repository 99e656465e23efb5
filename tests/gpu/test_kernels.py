"""Every kernel of every plan equals the oracle on a GPU, on fresh random values."""

import secrets
from pathlib import Path
from random import Random

import numpy as np
import pytest

from codegen import validate
from ir.eval import run_graph
from ir.graph import Graph
from ir.op import Array
from tests.closeness import relative_error
from tests.gpu.conftest import Singles, fill_scratch
from tests.gpu.single import region_of, run
from tests.operands import random_values

pytestmark = pytest.mark.gpu

LEAST = 16 * float(np.finfo(np.float32).eps)
"""Some functions of one operand are within a few units of their last place only."""


def test_equals_the_oracle(kernel: tuple[Path, str], singles: Singles) -> None:
    path, name = kernel
    region, executor, seed = region_of(path, name), singles.open(path), secrets.randbits(32)
    feeds = random_values(region, Random(seed))
    fill_scratch(executor, 0xFF)
    found = run(executor, name, feeds, region)
    fill_scratch(executor, 0x3F)
    again = run(executor, name, feeds, region)
    results = run_graph(region, feeds)
    expected = results.outputs | results.updates
    bounds = _bounds(region, feeds, expected)
    for result, value in found.items():
        assert value.tobytes() == again[result].tobytes(), f"{result}: differs between runs"
        error = relative_error(value, expected[result])
        assert error <= bounds[result], f"{result}: {error:.2e} > {bounds[result]:.2e}, seed {seed}"


def _bounds(region: Graph, feeds: dict[str, Array], expected: dict[str, Array]) -> dict[str, float]:
    """Of each result; where numbers cancel, NumPy's own error in float32 says what can be done."""
    single = run_graph(region, feeds, np.float32)
    bound = max(validate._bound(region), LEAST)
    return {
        name: max(bound, 8 * relative_error(value, expected[name]))
        for name, value in (single.outputs | single.updates).items()
    }
