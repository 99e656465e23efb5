"""`runtime.show` on a small compiled AlexNet, its parameters drawn."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ir.command import DataError, Error
from runtime import data, scenes, show
from runtime.classifier import PROBABILITIES
from runtime.data.dataset import Dataset
from tests.built import built
from tests.commands import python
from tests.kept import kept
from tests.lively import lively_checkpoint
from tests.plans import new_folder

LOG = '{"step": 1, "epoch": 1, "loss": 2.3, "top1": 0.1, "top5": 0.5}\n'


def plan() -> str:
    return str(built() / "plan.json")


@lru_cache
def checkpoint() -> str:
    path = new_folder() / "c.safetensors"
    lively_checkpoint(Path(plan()), path)
    return str(path)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Run the command in this process; the words of the picture, a line each."""

    def command(*arguments: object, out: str = "a.svg") -> str:
        words = ["show", *map(str, arguments), "-o", str(tmp_path / out)]
        monkeypatch.setattr(sys, "argv", words)
        show.main()
        root = ElementTree.parse(tmp_path / out).getroot()
        return "\n".join(
            element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")
        )

    return command


def test_filters_stand_by_device(shown: Callable[..., str]) -> None:
    words = shown("filters", plan(), checkpoint()).splitlines()
    most = np.abs(load_file(checkpoint())["conv1.weight"]).max()
    assert words[0] == f"conv1.weight: from -{most:.3g} to {most:.3g}"
    assert words[1:] == ["device 0", "0", "3", "device 1", "6", "9"]


def test_filters_of_other_layers_are_grey(shown: Callable[..., str]) -> None:
    words = shown("filters", plan(), checkpoint(), "--layer", "conv3.weight", "--channel", "2")
    assert words.startswith("conv3.weight, channel 2: from")
    assert shown("filters", plan(), checkpoint(), "--layer", "conv3.weight").startswith(
        "conv3.weight, channel 0: from"
    )
    with pytest.raises(Error, match=r"conv1\.weight has channels 0 to 2"):
        shown("filters", plan(), checkpoint(), "--channel", "3")
    with pytest.raises(Error, match=r"--layer fc6.weight: .* expected one of conv1.weight, "):
        shown("filters", plan(), checkpoint(), "--layer", "fc6.weight")


def test_filters_of_another_network_are_refused(shown: Callable[..., str], tmp_path: Path) -> None:
    values = load_file(checkpoint())
    wide = tmp_path / "wide.safetensors"
    save_file({"conv1.weight": np.zeros((5, 3, 11, 11), np.float32)}, wide)
    with pytest.raises(DataError, match=r"conv1.weight has shape \[5, 3, 11, 11\], expected"):
        shown("filters", plan(), wide)
    save_file({"conv2.weight": values["conv2.weight"]}, wide)
    with pytest.raises(DataError, match=r"wide\.safetensors: .* tensor 'conv1.weight' is missing"):
        shown("filters", plan(), wide)
    with pytest.raises(DataError, match=r"none\.safetensors: cannot be read as a checkpoint"):
        shown("filters", plan(), tmp_path / "none.safetensors")


def test_curves_take_logs_and_folders(shown: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for path in (tmp_path / "run" / "log.jsonl", tmp_path / "other.jsonl"):
        path.write_text(LOG * 3)
    words = shown("curves", tmp_path / "run", tmp_path / "other.jsonl")
    assert all(part in words for part in ("loss", "top-1 error", "top-5 error", "other.jsonl"))
    with pytest.raises(DataError, match="none: expected a log, or a run's folder"):
        shown("curves", tmp_path / "none")


def test_predictions_name_the_likeliest_classes(shown: Callable[..., str]) -> None:
    words = shown("predictions", plan(), checkpoint(), "--images", "3").splitlines()
    assert len(words) == 1 + 3 * (1 + 2 * 5)
    assert sum(word.endswith("%") for word in words) == 15


def test_only_errors_shows_those(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shown(
        "predictions", plan(), checkpoint(), "--images", "3", "--only-errors"
    ).splitlines()
    for first in range(1, len(words), 11):
        assert words[first] != words[first + 1]
    monkeypatch.setattr(scenes, "right", lambda shares, labels, top: np.ones(len(labels)))
    with pytest.raises(Error, match="every image is told right"):
        shown("predictions", plan(), checkpoint(), "--only-errors")


def test_an_image_is_its_own_nearest(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = data.load

    def same_parts(name: str, size: int) -> Dataset:
        found = load(name, size)
        return replace(found, train=found.validation)

    monkeypatch.setattr(data, "load", same_parts)
    words = shown("neighbours", plan(), checkpoint(), "--images", "4", "--near", "2").splitlines()
    for first in range(2, len(words), 5):
        label, near, distance, *_ = words[first : first + 5]
        assert near == label
        assert float(distance.removesuffix(" away")) < 0.1


def test_maps_need_a_plan_that_keeps_them(shown: Callable[..., str]) -> None:
    words = shown("maps", kept() / "plan.json", checkpoint(), "norm1", "--images", "2")
    assert words.startswith("norm1: 12 of 12 maps")
    with pytest.raises(Error, match=r"does not put out 'norm1'.*--keep norm1"):
        shown("maps", plan(), checkpoint(), "norm1")
    with pytest.raises(Error, match=rf"'{PROBABILITIES}' is .*; expected maps"):
        shown("maps", plan(), checkpoint(), PROBABILITIES)


def test_the_name_is_checked_before_any_work() -> None:
    done = python("runtime.show", "curves", "nowhere", "-o", "a.jpg")
    assert done.code == 2
    assert "a.jpg: expected a name that ends in .svg or .png" in done.err
