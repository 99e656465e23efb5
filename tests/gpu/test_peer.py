"""Twenty steps of the full-size net on a GPU, beside PyTorch's in strict float32 on the same."""

from pathlib import Path
from typing import Any

import pytest

from tests.torch_twin import assert_follows_pytorch

# PyTorch's own warnings are not ours to mend.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

PEER = "peer"


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch that multiplies float32 as float32."""
    found: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not found.cuda.is_available():
        pytest.skip("PyTorch cannot use this GPU")
    found.backends.cuda.matmul.allow_tf32 = False
    found.backends.cudnn.allow_tf32 = False
    return found


def test_twenty_full_size_steps_follow_pytorch_s(torch: Any, plans: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which has the images, is not installed")
    assert_follows_pytorch(torch, plans / PEER / "plan.json", "cuda")
