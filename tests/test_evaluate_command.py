"""`runtime.evaluate` and `runtime.predict` on a small compiled AlexNet, its parameters drawn."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from ir import plan as plans
from ir.command import DataError, Error
from runtime import data, evaluate, predict
from runtime.classifier import evaluation_feeds
from runtime.data.batches import image_size
from runtime.data.dataset import Dataset
from runtime.scores import score
from tests.built import built
from tests.commands import assert_refused, python
from tests.lively import lively_checkpoint
from tests.plans import new_folder


@lru_cache
def checkpoints() -> tuple[str, str]:
    """Two checkpoints of the small net."""
    folder = new_folder()
    paths = [folder / f"{seed}.safetensors" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        lively_checkpoint(plan_file(), path, seed)
    return str(paths[0]), str(paths[1])


def plan_file() -> Path:
    return built() / "plan.json"


@lru_cache
def digits() -> Dataset:
    return data.load("digits", image_size(evaluation_feeds(plans.read(plan_file()))))


@dataclass(frozen=True)
class Said:
    """What an evaluation wrote."""

    out: str
    facts: dict[str, float]
    probabilities: np.ndarray


@pytest.fixture
def evaluated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run the command in this process."""

    def command(*arguments: str) -> Said:
        facts, rows = tmp_path / "facts.json", tmp_path / "more" / "rows.npy"
        files = ["--out", str(facts), "--probabilities", str(rows)]
        monkeypatch.setattr(sys, "argv", ["evaluate", str(plan_file()), *arguments, *files])
        evaluate.main()
        return Said(capsys.readouterr().out, json.loads(facts.read_text("utf-8")), np.load(rows))

    return command


def test_an_ensemble_is_the_mean_of_its_members(evaluated: Callable[..., Said]) -> None:
    one, other = (evaluated(path).probabilities for path in checkpoints())
    both = evaluated(*checkpoints(), "--views", "1")
    assert np.abs(one - other).max() > 0.01
    assert np.allclose(both.probabilities, (one + other) / 2, rtol=0, atol=1e-7)
    assert np.allclose(both.probabilities.sum(axis=1), 1, atol=1e-5)
    expected = score(both.probabilities, digits().validation.labels).summary()
    assert {name: both.facts[name] for name in expected} == expected
    assert f"{expected['top1_error']:.3%}" in both.out


def test_views_change_what_is_seen(evaluated: Callable[..., Said]) -> None:
    one, ten = (evaluated(checkpoints()[0], "--views", n).probabilities for n in ("1", "10"))
    assert one.shape == ten.shape == (300, 10)
    assert 1e-4 < np.abs(one - ten).max() < 1


def test_the_report_lists_classes_and_mistakes(evaluated: Callable[..., Said]) -> None:
    said = evaluated(checkpoints()[0], "--per-class", "--confusions", "2", "--part", "train")
    classes = [line.split() for line in said.out.split("\n\n")[1].splitlines()[1:]]
    assert [name for name, *_ in classes] == [str(digit) for digit in range(10)]
    assert sum(int(images) for _, images, *_ in classes) == len(digits().train)
    assert len([line for line in said.out.splitlines() if "->" in line]) == 2


def test_a_checkpoint_that_is_none_is_refused(evaluated: Callable[..., Said]) -> None:
    with pytest.raises(Error, match=r"plan\.json: no safetensors header"):
        evaluated(str(plan_file()))


def test_numbers_that_are_none_are_refused(evaluated: Callable[..., Said], tmp_path: Path) -> None:
    content = Path(checkpoints()[0]).read_bytes()
    some = load_file(checkpoints()[0])["fc8.weight"].tobytes()
    bad = tmp_path / "bad.safetensors"
    assert content.count(some) == 1
    bad.write_bytes(content.replace(some, b"\xff" * len(some)))
    with pytest.raises(Error, match="has NaN") as caught:
        evaluated(str(bad))
    assert caught.value.exit == 5


# ----------------------------------------------------------------------------- predict


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Validation images as files."""
    paths = [tmp_path / f"{index}.png" for index in range(23)]
    pixels = digits().validation.read(np.arange(len(paths)))
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(path)
    return paths


@pytest.fixture
def predicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command in this process."""

    def command(*arguments: object) -> str:
        words = ["predict", str(plan_file()), checkpoints()[0], *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        predict.main()
        return capsys.readouterr().out

    return command


def test_pictures_get_the_probabilities_of_the_same_images(
    predicted: Callable[..., str], evaluated: Callable[..., Said], pictures: list[Path]
) -> None:
    rows = evaluated(checkpoints()[0], "--views", "10").probabilities
    out = predicted(*pictures, "--views", "10", "--top", "3").split(".png\n")
    assert len(out) == len(pictures) + 1
    for said, row in zip(out[1:], rows, strict=False):
        best = np.argsort(-row)[:3]
        found = [line.split() for line in said.splitlines()[:3]]
        assert [int(name) for _, name in found] == best.tolist()
        shown = [float(share.rstrip("%")) for share, _ in found]
        assert np.allclose(shown, 100 * row[best], atol=1e-3)


def test_features_are_written_a_row_for_each_picture(
    predicted: Callable[..., str], pictures: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "features.npy"
    predicted(*pictures, "--features", file)
    features = np.load(file)
    assert features.dtype == np.float32
    assert features.shape == (len(pictures), 512)
    predicted(pictures[7], "--features", file)
    assert np.allclose(np.load(file), features[7:8], rtol=1e-6)


def test_names_come_from_a_file(
    predicted: Callable[..., str], pictures: list[Path], tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {index}\n" for index in range(10)))
    assert predicted(pictures[0], "--names", names).count("digit") == 5
    names.write_text("one\n")
    with pytest.raises(Error, match=r"names.txt: 1 lines, expected the names of 10 classes"):
        predicted(pictures[0], "--names", names)


def test_names_that_are_no_utf_8_are_escaped(
    predicted: Callable[..., str], pictures: list[Path], tmp_path: Path
) -> None:
    path = pictures[0].rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert predicted(path).splitlines()[0] == str(tmp_path / r"caf\udce9.png")
    with pytest.raises(DataError, match=r"caf\\udce9.jpg: cannot be read"):
        predicted(path.with_suffix(".jpg"))


def test_every_bad_picture_is_named_with_its_reason(
    predicted: Callable[..., str], pictures: list[Path], tmp_path: Path
) -> None:
    pictures[1].write_bytes(b"")
    pictures[2].write_bytes(b"text")
    pictures[3].write_bytes(pictures[3].read_bytes()[:-30])
    pictures[4].unlink()
    os.mkfifo(pictures[4])  # which nobody will ever write to
    pictures[5].unlink()
    pictures[5].symlink_to("/dev/zero")
    with pytest.raises(DataError) as caught:
        predicted(*pictures, tmp_path / "none.png")
    said = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in said] == [
        str(path) for path in (*pictures[1:6], tmp_path / "none.png")
    ]
    assert "is empty" in said[0]
    assert "is no regular file" in said[3]
    assert "is no regular file" in said[4]


def test_the_command_exits_with_3_on_a_bad_picture(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    done = python("runtime.predict", str(plan_file()), checkpoints()[0], str(empty))
    assert_refused(done, "empty.jpg: is empty", code=3)
