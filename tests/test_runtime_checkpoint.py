"""Checkpoints: exchanged between splits, whole or not at all, and refused when anything is off."""

import errno
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from ir.command import Error, Exit
from ir.plan import write
from runtime.checkpoint import Counters, load, save
from runtime.devices import open_executor
from runtime.files import file_hash, write_json
from runtime.state import States
from tests.counts import cases
from tests.plans import compiled, one_device, two_devices

COUNTERS = Counters(step=12, epoch=3, seed=2**32 - 1, errors=(0.5, 0.25))
WEIGHT, MOMENTUM = "x.weight", "x.weight.momentum"
Header = dict[str, Any]


@pytest.fixture(scope="module")
def split() -> Iterator[States]:
    with open_executor(two_devices(), compiled()) as made:
        made.states.initialise(1)
        made.states.write(MOMENTUM, np.arange(120, dtype=np.float32).reshape(120, 1))
        yield made.states


@pytest.fixture(scope="module")
def whole() -> Iterator[States]:
    with open_executor(one_device(), compiled()) as made:
        yield made.states


@pytest.fixture(scope="module")
def saved(split: States, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "a.safetensors"
    save(path, split, COUNTERS)
    return path


def values(states: States) -> dict[str, bytes]:
    return {name: states.read(name).tobytes() for name in states.names}


# ---------------------------------------------------------------------------- round trip


def test_a_split_model_is_loaded_whole_and_back(
    split: States, whole: States, saved: Path, tmp_path: Path
) -> None:
    before = values(split)
    assert load(saved, whole) == COUNTERS
    assert values(whole) == before
    again = tmp_path / "b.safetensors"
    save(again, whole, COUNTERS)
    assert again.read_bytes() == saved.read_bytes()
    split.initialise(9)
    assert load(again, split) == COUNTERS
    assert values(split) == before


def test_the_format_is_the_public_one(split: States, saved: Path) -> None:
    tensors = load_file(saved)
    assert {name: value.tobytes() for name, value in tensors.items()} == values(split)
    assert header(saved.read_bytes())["__metadata__"] == {
        "step": "12",
        "epoch": "3",
        "seed": str(2**32 - 1),
        "errors": "[0.5, 0.25]",
    }


def test_parameters_alone_are_enough_to_begin_with(whole: States, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weight = np.full((120, 1), 2, np.float32)
    save_file({WEIGHT: weight}, path)
    whole.write(MOMENTUM, weight * 3)
    assert load(path, whole, parameters_only=True) == Counters(0, 0, 0)
    np.testing.assert_array_equal(whole.read(WEIGHT), weight)
    np.testing.assert_array_equal(whole.read(MOMENTUM), weight * 3)


def test_a_checkpoint_with_everything_gives_its_parameters(
    whole: States, split: States, saved: Path
) -> None:
    momentum = whole.read(MOMENTUM)
    load(saved, whole, parameters_only=True)
    np.testing.assert_array_equal(whole.read(WEIGHT), split.read(WEIGHT))
    np.testing.assert_array_equal(whole.read(MOMENTUM), momentum)


def test_what_other_plans_keep_of_a_parameter_does_not_matter(
    whole: States, saved: Path, tmp_path: Path
) -> None:
    path, tensors = tmp_path / "sums.safetensors", load_file(saved)
    facts = header(saved.read_bytes())["__metadata__"]
    save_file(tensors | {f"{WEIGHT}.sum": np.ones(7, np.float32)}, path, facts)
    load(path, whole, parameters_only=True)
    np.testing.assert_array_equal(whole.read(WEIGHT), tensors[WEIGHT])
    with pytest.raises(Error, match=r"'x\.weight\.sum' is not in the plan"):
        load(path, whole)


@cases(full=200, sample=20)
@given(rows=st.integers(0, 200), extra=st.integers(0, 9))
def test_what_is_to_stay_fresh_may_have_any_shape_or_be_absent(
    whole: States, tmp_path_factory: pytest.TempPathFactory, rows: int, extra: int
) -> None:
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    before = values(whole)
    tensors = {"x.more": np.ones(extra, np.float32)}
    if rows:
        tensors[WEIGHT] = np.ones((rows, 1), np.float32)
    save_file(tensors, path)
    load(path, whole, parameters_only=True, fresh=["x.*"])
    assert values(whole) == before
    with pytest.raises(Error, match=r"'x\.\w+' (has shape|is missing|is not in the plan)"):
        load(path, whole, parameters_only=True, fresh=["y.*"])


# -------------------------------------------------------------------------------- writing


@cases(full=100, sample=10)
@given(place=st.integers(0, 119), bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_no_number_is_not_saved(split: States, saved: Path, place: int, bad: float) -> None:
    good, files = saved.read_bytes(), sorted(saved.parent.iterdir())
    momentum = split.read(MOMENTUM)
    split.write(MOMENTUM, np.where(np.arange(120)[:, None] == place, np.float32(bad), momentum))
    with pytest.raises(Error, match=f"{MOMENTUM} is not to be saved: .* of 120") as caught:
        save(saved, split, COUNTERS)
    split.write(MOMENTUM, momentum)
    assert caught.value.exit == Exit.NUMERICS
    assert (saved.read_bytes(), sorted(saved.parent.iterdir())) == (good, files)


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (errno.ENOSPC, "No space left on device; expected more free space; the one there before"),
        (errno.EIO, "Input/output error; the one there before is intact"),
    ],
)
def test_a_failed_write_leaves_the_old_one(
    split: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, complaint: str
) -> None:
    def fails(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "c.safetensors"
    save(path, split, COUNTERS)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Error) as caught:
        save(path, split, Counters(99, 9, 9))
    assert str(caught.value).startswith(f"{path}: cannot be written: {complaint}")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_one(
    split: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: States, name: str) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "c.safetensors"
    save(path, split, COUNTERS)
    before = path.read_bytes()
    monkeypatch.setattr(States, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(path, split, Counters(99, 9, 9))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_record_of_a_run_is_json(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    write(one_device(), plan)
    write_json(tmp_path / "new" / "run.json", {"plan": file_hash(plan), "seconds": 1.5})
    record = json.loads((tmp_path / "new" / "run.json").read_text("utf-8"))
    assert record["seconds"] == 1.5
    assert len(record["plan"]) == 64
    with pytest.raises(Error, match="cannot be written: File exists"):
        write_json(plan / "run.json", {})
    with pytest.raises(Error, match="cannot be read: No such file"):
        file_hash(tmp_path / "none.json")


# -------------------------------------------------------------------------------- reading


def header(content: bytes) -> Header:
    (size,) = struct.unpack("<Q", content[:8])
    made: Header = json.loads(content[8 : 8 + size])
    return made


def with_header(content: bytes, text: str) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    return struct.pack("<Q", len(text)) + text.encode() + content[8 + size :]


def refusal(content: bytes, states: States, folder: Path) -> str:
    """The one line that refuses it; the states are as they were and nothing is written."""
    path = folder / "bad.safetensors"
    path.write_bytes(content)
    files, before = sorted(folder.iterdir()), values(states)
    with pytest.raises(Error) as caught:
        load(path, states)
    message = str(caught.value)
    assert caught.value.exit == Exit.USAGE
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert values(states) == before
    assert sorted(folder.iterdir()) == files
    return message


@cases(full=2000, sample=100)
@given(data=st.data())
def test_every_cut_is_refused(whole: States, saved: Path, data: st.DataObject) -> None:
    content = saved.read_bytes()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    refusal(cut, whole, saved.parent)


def renamed(made: Header, old: str, new: str) -> None:
    made[new] = made.pop(old)


def changed(name: str, key: str, value: Any) -> Callable[[Header], object]:
    return lambda made: made[name].update({key: value})


CHANGES: list[tuple[Callable[[Header], object], str]] = [
    (lambda made: renamed(made, WEIGHT, "y.weight"), "tensor 'x.weight' is missing"),
    (lambda made: made.pop(WEIGHT), "tensor 'x.weight' is missing, expected as in the plan"),
    (lambda made: made.pop(MOMENTUM), "tensor 'x.weight.momentum' is missing"),
    (lambda made: made.update(y=made[WEIGHT]), "tensor 'y' is not in the plan"),
    (changed(WEIGHT, "dtype", "F16"), "tensor 'x.weight' is F16, expected F32"),
    (changed(WEIGHT, "dtype", 7), "tensor 'x.weight': Expected str, got int - at $.dtype"),
    (changed(WEIGHT, "shape", [60, 2]), "'x.weight' has shape [60, 2], expected [120, 1]"),
    (changed(WEIGHT, "shape", [120]), "'x.weight' has shape [120], expected [120, 1]"),
    (changed(WEIGHT, "shape", "big"), "tensor 'x.weight': Expected array, got str"),
    (changed(WEIGHT, "data_offsets", [0, 476]), "data_offsets [0, 476], expected [0, 480]"),
    (changed(WEIGHT, "data_offsets", [480, 960]), "data_offsets [480, 960], expected"),
    (changed(WEIGHT, "data_offsets", [-480, 0]), "data_offsets [-480, 0], expected [0, 480]"),
    (changed(WEIGHT, "data_offsets", [0]), "tensor 'x.weight': Expected array of length 2"),
    (changed(WEIGHT, "colour", 1), "tensor 'x.weight': Object contains unknown field colour"),
    (lambda made: made[WEIGHT].pop("shape"), "Object missing required field shape"),
    (lambda made: made.update({WEIGHT: None}), "tensor 'x.weight': Expected object, got null"),
    (lambda made: made.pop("__metadata__"), "metadata 'step' is None, expected a count"),
    (lambda made: made.update(__metadata__=[]), "metadata 'step' is None, expected a count"),
    (
        lambda made: made["__metadata__"].update(seed=str(2**32)),
        "metadata 'seed' is 4294967296, expected one below 4294967296",
    ),
    (lambda made: made["__metadata__"].pop("seed"), "metadata 'seed' is None, expected a count"),
    (changed("__metadata__", "step", "-1"), "metadata 'step' is '-1', expected a count"),
    (changed("__metadata__", "epoch", 3), "metadata 'epoch' is 3, expected a count"),
    (changed("__metadata__", "epoch", "9" * 5000), "expected a count"),
]


@pytest.mark.parametrize(("change", "complaint"), CHANGES)
def test_every_fault_is_named(
    whole: States, saved: Path, change: Callable[[Header], object], complaint: str
) -> None:
    content = saved.read_bytes()
    made = header(content)
    change(made)
    assert complaint in refusal(with_header(content, json.dumps(made)), whole, saved.parent)


@cases(full=2000, sample=100)
@given(data=st.data())
def test_every_renamed_tensor_or_key_is_refused(
    whole: States, saved: Path, data: st.DataObject
) -> None:
    content = saved.read_bytes()
    made = header(content)
    parts: list[Header] = [made, *made.values()]
    part = data.draw(st.sampled_from(parts))
    old = data.draw(st.sampled_from(sorted(part)))
    new = data.draw(st.text(max_size=12).filter(lambda text: text not in part))
    renamed(part, old, new)
    refusal(with_header(content, json.dumps(made)), whole, saved.parent)


def test_a_name_that_stands_twice_is_refused(whole: States, saved: Path) -> None:
    content = saved.read_bytes()
    made = header(content)
    text = json.dumps(made)
    twice = f'{text[:-1]}, "{WEIGHT}": {json.dumps(made[WEIGHT])}}}'
    message = refusal(with_header(content, twice), whole, saved.parent)
    assert "'x.weight' stands twice in the header, expected once" in message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no safetensors header"),
        (b"PK\x03\x04" * 8, "no safetensors header"),
        (struct.pack("<Q", 2**63) + b"{}", "no safetensors header"),
        (struct.pack("<Q", 100) + b"{}", "cut in the header: 2 bytes of it, expected 100"),
        (struct.pack("<Q", 2) + b"[]", "the header is no JSON object"),
        (struct.pack("<Q", 2) + b"{{", "the header is not JSON"),
        (struct.pack("<Q", 2) + b"\xff\xff", "the header is not JSON"),
        (struct.pack("<Q", 90000) + b"[" * 90000, "maximum recursion depth exceeded"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    whole: States, saved: Path, content: bytes, complaint: str
) -> None:
    assert complaint in refusal(content, whole, saved.parent)


def test_bytes_behind_the_tensors_are_refused(whole: States, saved: Path) -> None:
    message = refusal(saved.read_bytes() + b"\0", whole, saved.parent)
    assert "961 bytes of tensors, expected 960" in message


def test_a_missing_file_is_named(whole: States, tmp_path: Path) -> None:
    with pytest.raises(Error, match="none: cannot be read: No such file"):
        load(tmp_path / "none", whole)
    with pytest.raises(Error, match="cannot be read: Is a directory"):
        load(tmp_path, whole)
