"""Checkpoints of networks that were not trained, and still tell images apart."""

from pathlib import Path

import numpy as np

from ir import plan as plans
from runtime import checkpoint
from runtime.checkpoint import Counters
from runtime.devices import open_executor
from runtime.executor import Executor
from runtime.packing import Array


def enliven(executor: Executor, seed: int = 0) -> dict[str, Array]:
    """Set parameters with which every layer passes signals on; return them by logical name."""
    random = np.random.default_rng(seed)
    states, found = executor.states, {}
    states.initialise(seed)
    for name in sorted(states.parameters):
        shape = states.shape(name)
        if len(shape) > 1:
            std = np.sqrt(2 / np.prod(shape[1:]))
            std *= 0.1 if shape[1] == 3 else 1  # pixels are around 100, later values around 1
            states.write(name, random.normal(0, std, shape).astype(np.float32))
        found[name] = states.read(name)
    return found


def lively_checkpoint(plan: Path, path: Path, seed: int = 0) -> dict[str, Array]:
    """Write a checkpoint of such parameters for a plan; return them by logical name."""
    with open_executor(plans.read(plan), plans.folder(plan)) as executor:
        found = enliven(executor, seed)
        checkpoint.save(path, executor.states, Counters(0, 0, 0))
    return found
