"""Shards whose file is as the manifest says, but no shard: each is a complaint, never a crash."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ir.command import DataError
from runtime.data import check
from runtime.data.store import shard, tensors
from runtime.data.store.manifest import Shard
from runtime.data.store.tensors import Tensors
from tests.counts import cases

COUNT, SIZE = 3, 4
NAMES = ("images", "labels", "sha256", "source")
FACTS = ("names", "left_out")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FACTS), inner),
)
ARRAYS = st.builds(
    lambda shape, dtype: np.ones(shape, dtype),
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from([np.uint8, np.int32, np.float32]),
)


def whole() -> Tensors:
    draw = np.random.default_rng(0)
    arrays: dict[str, tensors.Array] = {
        "images": draw.integers(0, 256, (COUNT, 3, SIZE, SIZE)).astype(np.uint8),
        "labels": np.arange(COUNT, dtype=np.int32),
        "source": draw.integers(0, 256, (COUNT, 32)).astype(np.uint8),
    }
    return shard.signed(arrays, {"names": ["a", "b", "c"], "left_out": [("d", "is empty")]})


def checked(path: Path, found: Tensors) -> str | None:
    """What the check says of a file of tensors that has the right hash."""
    listed = Shard(path.name, COUNT, tensors.write(path, found))
    labels = np.arange(COUNT, dtype=np.int32)
    complaint, _ = check.check(check.Task(path.parent, listed, SIZE, labels, full=True))
    return complaint


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made") / "train-00000.safetensors"


def test_a_shard_is_taken(path: Path) -> None:
    assert checked(path, whole()) is None


@cases(full=1000, sample=100)
@given(facts=JSON)
def test_other_facts_are_a_complaint(path: Path, facts: Any) -> None:
    complaint = checked(path, Tensors(whole().arrays, facts))
    assert complaint
    assert complaint.startswith(f"{path}: its facts are none of a shard: ")


@cases(full=1000, sample=100)
@given(name=st.sampled_from(NAMES), array=st.none() | ARRAYS)
@example("images", np.zeros((COUNT - 1, 3, SIZE, SIZE), np.uint8))
@example("images", np.zeros((COUNT, 3, SIZE, SIZE), np.float32))
def test_other_arrays_are_a_complaint(path: Path, name: str, array: tensors.Array | None) -> None:
    made = whole()
    others = {each: value for each, value in made.arrays.items() if each != name}
    if array is not None:
        others[name] = array
    complaint = checked(path, Tensors(others, made.facts))
    assert complaint
    assert complaint.startswith(f"{path}: ")


@cases(full=200, sample=30)
@given(kept=st.integers(0, COUNT), more=st.booleans())
def test_a_shard_of_another_count_is_a_complaint(path: Path, kept: int, more: bool) -> None:
    found = whole()
    some = {n: a[[*range(kept), *[0] * more]] for n, a in found.arrays.items() if n != "sha256"}
    names = found.facts["names"][:kept] + ["e"] * more
    complaint = checked(path, shard.signed(some, {"names": names, "left_out": []}))
    assert (complaint is None) == (kept == COUNT and not more)


def test_a_shard_without_facts_is_refused(path: Path) -> None:
    tensors.write(path, Tensors(whole().arrays, [1]))
    with pytest.raises(DataError, match="its facts are none of a shard: Expected `object`"):
        shard.mapped(path)
