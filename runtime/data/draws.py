"""Counter-based random numbers: what is drawn depends on its key, not on what was drawn before.

So draws do not depend on the batch size, on devices, or on where a run was resumed. Only the raw
bits of Philox are used, which NumPy promises not to change.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class Purpose(IntEnum):
    """Keeps draws for different ends apart."""

    SPLIT = 0
    WINDOW = 1
    ORDER = 2
    AUGMENT = 3
    ROW = 4


def bits(count: int, purpose: Purpose, *, seed: int, epoch: int = 0, item: int = 0) -> Bits:
    """`count` words of 64 random bits."""
    key, counter = ([seed, 0], [0, item, epoch, int(purpose)])
    philox = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64))
    return np.asarray(philox.random_raw(count), np.uint64)


def order(count: int, purpose: Purpose, *, seed: int, epoch: int = 0) -> Indices:
    """A permutation of 0 ... count - 1."""
    return np.argsort(bits(count, purpose, seed=seed, epoch=epoch), kind="stable")


def below(raw: Bits, limit: int) -> Indices:
    """Integers in [0, limit), with limit below 2^32."""
    high = raw >> np.uint64(32)
    return ((high * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)


def normal(raw: Bits) -> Floats:
    """Numbers from N(0, 1), one for each two words (Box and Muller)."""
    uniform = ((raw >> np.uint64(11)) + 0.5) * 2.0**-53
    radius, turn = uniform.reshape(-1, 2).T
    return np.asarray(np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * turn))
