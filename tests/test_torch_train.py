"""Full-size AlexNet trained by a plan follows PyTorch's."""

from typing import Any

import pytest

from tests.built import built
from tests.torch_twin import FULL_SIZE, assert_follows_pytorch

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test-torch")


def test_twenty_full_size_steps_follow_pytorch_s(torch: Any) -> None:
    assert_follows_pytorch(torch, built(FULL_SIZE) / "plan.json", "cpu")
