"""Random values for the feeds of a plan's program, whatever it is of."""

from collections.abc import Mapping

import numpy as np

from ir.op import Array
from ir.plan import Feed, Program
from runtime.memory import DTYPES

RATES = 1e-3
"""All scalars: learning rates, momentum and decay so small that nothing grows."""


def random_feeds(program: Program, seed: int) -> Mapping[str, Array]:
    """By logical name; integers lie in their ranges."""
    random = np.random.default_rng(seed)
    return {feed.logical: _value(feed, random) for feed in program.feeds}


def _value(feed: Feed, random: np.random.Generator) -> Array:
    shape, dtype = feed.tensor.layout.shape, DTYPES[feed.tensor.dtype]
    if dtype.kind == "f":
        return np.asarray(random.uniform(0.25, 1, shape) if shape else RATES, dtype)
    return random.integers(0, feed.below or 256, shape).astype(dtype)
