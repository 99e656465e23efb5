"""A plan that puts out values within its network."""

from functools import lru_cache
from pathlib import Path

from tests import mode
from tests.built import TWO, built, finished
from tests.plans import new_folder

KEPT = "crop,conv1,conv1.biased,norm1,features,relu6,drop6"
"""What kernels make on their way, views, what dropout reads, and what no device alone holds."""


@lru_cache
def kept() -> Path:
    """The folder of the small network's plan, built to keep these values."""
    folder, text = new_folder(), (built() / "network.ir").read_text("utf-8")
    words = ("--devices", TWO, "--keep", KEPT, *mode.options())
    finished("codegen.build", *words, cwd=folder, given=text)
    return folder
