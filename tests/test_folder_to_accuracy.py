"""From a folder of JPEGs to an accuracy, by the commands that a user types.

Classes are photographs. The images to learn from are cut from the left part of each, those to
validate with from the right part, so no pixel is in both.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frontend.dsl import Model
from frontend.layers import classify, conv, dense, flatten, images, max_pool, relu
from ir.printer import print_graph
from runtime.data.store import manifest
from tests import mode
from tests.built import ONE, finished
from tests.photographs import encoded, photographs

CLASSES = 2
LEFT = 0.6  # of a photograph's width
COUNTS = {"train": 120, "val": 50}  # images of each class
WINDOW, STORED, CROP = 96, 56, 48  # sides
LEAST = 0.85
"""Guessing gets 50 %, and 85 % in one of 10^12 attempts; seeds 0 to 4 got 99 % and
more, and at half and at twice the rate still 92 %.
"""


def photo_folder(folder: Path) -> Path:
    """A folder with `train` and `val`, and a folder of JPEGs for each class in these."""
    for label, photo in enumerate(photographs()[:CLASSES]):
        cut = round(LEFT * photo.width)
        sides = {"train": (0, cut), "val": (cut, photo.width)}
        for part, (left, right) in sides.items():
            place = folder / part / f"photograph {label}"
            place.mkdir(parents=True)
            half = photo.crop((left, 0, right, photo.height))
            for number in range(COUNTS[part]):
                data = encoded(window(half, number), quality=90)
                (place / f"{number:04}.jpeg").write_bytes(data)
    return folder


def window(photo: Image.Image, number: int) -> Image.Image:
    draw = np.random.default_rng(number)
    left, upper = (int(draw.integers(0, side - WINDOW + 1)) for side in photo.size)
    return photo.crop((left, upper, left + WINDOW, upper + WINDOW))


def network() -> str:
    """A convolution and a dense layer, as IR text."""
    x = images(Model("small", batch=20), CROP, STORED)
    x = relu(conv(x, "conv1", 12, 7, stride=3), "relu1")
    x = max_pool(x, "pool1", 3, stride=2)
    x = dense(flatten(x, "features"), "fc2", CLASSES)
    return print_graph(x.model.finish(*classify(x)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands were run: `photos` became `store`, `small.ir` became `plan.json`."""
    place = tmp_path_factory.mktemp("folder")
    photo_folder(place / "photos")
    (place / "small.ir").write_text(network(), "utf-8")
    finished("runtime.data.prepare", "photos", "store", "--size", str(STORED), cwd=place)
    finished("codegen.build", "small.ir", "--devices", ONE, *mode.options(), cwd=place)
    return place


def test_the_store_has_every_photograph(folder: Path) -> None:
    facts = manifest.read(folder / "store")
    assert facts.classes == ("photograph 0", "photograph 1")
    assert not facts.left_out
    assert facts.count("train") == CLASSES * COUNTS["train"]
    assert facts.count("validation") == CLASSES * COUNTS["val"]


def test_a_folder_of_jpegs_is_learnt(folder: Path) -> None:
    learning = ["--data", "store", "--epochs", "10", "--lr", "1e-4"]
    finished("runtime.train", "plan.json", *learning, cwd=folder)
    asked = ["--data", "store", "--out", "facts.json"]
    done = finished("runtime.evaluate", "plan.json", "run/best.safetensors", *asked, cwd=folder)
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    assert 1 - facts["top1_error"] >= LEAST
    assert f"{facts['top1_error']:.3%}" in done.out
