"""What cores and GPUs do per second where nobody measured it."""

from typing import TYPE_CHECKING

from ir.plan import Speeds

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target

GUESSES = {
    "cpu": Speeds(
        unit="core",
        origin="a guess",
        multiply_adds=0.22,
        tf32=0.0,
        bf16=0.0,
        simple=0.1,
        dear=4.2,
        loads=0.02,
        stores=2.5,
        scalars=0.6,
        near=30e9,
        far=12e9,
        link=5e9,
        cache=16_000_000,
        launch=5e3,
        processors=1,
    ),
    "cuda": Speeds(
        unit="H200-class GPU",
        origin="a guess",
        multiply_adds=8e-4,
        tf32=1.3e-4,
        bf16=6.5e-5,
        simple=8e-4,
        dear=8e-3,
        loads=0.0,
        stores=0.0,
        scalars=0.0,
        near=3e12,
        far=3e12,
        link=100e9,
        cache=0,
        launch=3e3,
        processors=132,
    ),
}
"""A core of AVX-512 at 2.8 GHz, which does 150 GFLOP/s; by vectors of 16, 40 TFLOP/s of a GPU, and
250 TFLOP/s of its tensor cores in tf32, twice as much in bf16.

Stores are dear, since most of them leave the nearest cache.
"""


def guess(target: "Target") -> Speeds:
    """For a kind of device."""
    return GUESSES[target.kind]
