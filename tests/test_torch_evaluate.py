"""Evaluation of a checkpoint gives the probabilities that PyTorch computes from the same views."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ir import plan as plans
from ir.op import Array
from runtime import data, evaluate
from runtime.classifier import PROBABILITIES, Classifier
from runtime.data.dataset import Dataset, Part
from runtime.data.statistics import mean_image
from runtime.devices import open_executor
from runtime.views import View, views
from tests.built import SMALL, built
from tests.lively import enliven, lively_checkpoint
from tests.torch_twin import FULL_SIZE, forward

pytestmark = pytest.mark.torch

CLOSE = 1e-5
"""In probability. Seen: 1.6e-6."""


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test-torch")


def by_torch(
    torch: Any, params: dict[str, Array], dataset: Dataset, part: Part, chosen: tuple[View, ...],
    crop: int, keep: float,
) -> Array:  # fmt: skip
    """Probabilities of a part's images, averaged over views."""
    weights = {name: torch.from_numpy(value) for name, value in params.items()}
    pixels = part.read(np.arange(len(part))).astype(np.float32) - mean_image(dataset.train)
    total = 0
    for view in chosen:
        seen = pixels[:, :, view.row : view.row + crop, view.column : view.column + crop]
        seen = seen[:, :, :, ::-1] if view.mirrored else seen
        with torch.no_grad():
            logits = forward(torch, weights, torch.from_numpy(seen.copy()), keep)
        total = total + torch.softmax(logits.double(), 1).numpy() / len(chosen)
    return np.asarray(total)


def assert_agree(ours: Array, theirs: Array) -> None:
    """Fail unless probabilities agree, and differ from image to image."""
    assert np.ptp(theirs, axis=0).max() > 0.1
    assert np.abs(ours - theirs).max() < CLOSE


@pytest.mark.parametrize("count", [1, 10])
def test_the_command_s_probabilities_are_pytorch_s(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    plan, ckpt, file = built(SMALL) / "plan.json", tmp_path / "c.safetensors", tmp_path / "p.npy"
    params = lively_checkpoint(plan, ckpt)
    words = [str(plan), str(ckpt), "--views", str(count), "--probabilities", str(file)]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    evaluate.main()
    dataset = data.load("digits", 73)
    chosen = views(count, 73 - 64 + 1)
    theirs = by_torch(torch, params, dataset, dataset.validation, chosen, 64, keep=0.5)
    assert_agree(np.load(file), theirs)


def test_ten_full_size_views_are_pytorch_s(torch: Any) -> None:
    """Of 20 images in batches of 16, so that the last batch is short."""
    path = built(FULL_SIZE) / "plan.json"
    dataset = data.load("digits", 256)
    whole = dataset.validation
    part = Part(whole.labels[:20], whole.read)
    with open_executor(plans.read(path), plans.folder(path)) as executor:
        params = enliven(executor)
        found = Classifier(executor, dataset, 10).see(part, [PROBABILITIES])[PROBABILITIES]
    theirs = by_torch(torch, params, dataset, part, views(10, 33), 224, keep=1.0)
    assert_agree(found, theirs)
