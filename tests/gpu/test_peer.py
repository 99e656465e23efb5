"""Twenty steps of the full-size net on a GPU, beside PyTorch's in the same precision."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import autocast, choose_precision
from tests.torch_twin import APART, assert_follows_pytorch

# PyTorch's own warnings are not ours to mend.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch that can use a GPU."""
    found: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not found.cuda.is_available():
        pytest.skip("PyTorch cannot use this GPU")
    return found


@pytest.mark.parametrize("precision", APART)
def test_twenty_full_size_steps_follow_pytorch_s(torch: Any, plans: Path, precision: str) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which has the images, is not installed")
    choose_precision(torch, precision)
    plan = plans / f"peer-{precision}" / "plan.json"
    assert_follows_pytorch(torch, plan, "cuda", partial(autocast, torch, precision))
