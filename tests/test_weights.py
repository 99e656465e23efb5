"""`runtime.weights`: its table has every parameter's magnitudes, as NumPy finds them."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from safetensors.numpy import save, save_file

from ir.command import DataError, Exit
from runtime import header
from runtime.header import Entry
from runtime.tensors import opened
from runtime.weights import lines
from tests.commands import assert_refused, python
from tests.counts import cases


@cases(full=200, sample=20)
@given(
    shapes=st.dictionaries(st.sampled_from(["a.weight", "a.bias", "b"]), array_shapes(max_dims=4)),
    moved=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_parameter_has_its_line(
    shapes: dict[str, tuple[int, ...]],
    moved: bool,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("made") / "a.safetensors"
    draw = np.random.default_rng(seed)
    tensors = {n: draw.normal(0, 9, shape).astype(np.float32) for n, shape in shapes.items()}
    speeds = {f"{n}.momentum": value / 7 for n, value in tensors.items() if moved}
    save_file(tensors | speeds, path, {"step": "7", "epoch": "2", "seed": "0", "errors": "[]"})
    first, _, *rows = lines(path)
    assert first == "step 7, epoch 2, seed 0"
    assert [row.split()[0] for row in rows] == sorted(tensors)
    for row in rows:
        name, shape, *numbers = row.split()
        sizes = np.abs(tensors[name])
        assert shape == "x".join(map(str, sizes.shape))
        expected = [sizes.mean(), sizes.max()] + [sizes.mean() / 7] * moved
        assert [float(number) for number in numbers] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8 a photograph", b"cut"])
def test_what_is_no_checkpoint_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        whole = save({"b": np.ones(9, np.float32)})
        path.write_bytes(whole[:-1] if content == b"cut" else content)
    done = python("runtime.weights", str(path))
    assert_refused(done, str(path), "cannot be read as a checkpoint", code=Exit.DATA)


def written(path: Path, dtype: str, shape: tuple[int, ...], data: bytes) -> Path:
    """A file of one tensor, made by hand."""
    entry = Entry(dtype, shape, (0, len(data)))
    path.write_bytes(header.encode({"a": entry}, {"step": "1"}) + data)
    return path


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F64", struct.pack("<3d", -2, 1, 0.5)),
        ("F32", struct.pack("<3f", -2, 1, 0.5)),
        ("F16", struct.pack("<3e", -2, 1, 0.5)),
        ("BF16", b"\x00\xc0\x80\x3f\x00\x3f"),
    ],
)
def test_every_float_has_its_value(dtype: str, data: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a", dtype, (3,), data)
    with opened(path) as found:
        assert found.read("a").tolist() == [-2, 1, 0.5]
    assert list(lines(path))[2].split() == ["a", "3", "1.167", "2"]


@pytest.mark.parametrize("dtype", [f"{kind}{bits}" for kind in "IU" for bits in (8, 16, 32, 64)])
def test_the_least_integer_has_its_magnitude(dtype: str, tmp_path: Path) -> None:
    least = np.iinfo(("int" if dtype[0] == "I" else "uint") + dtype[1:]).min
    data = np.array([least], f"<{dtype[0].lower()}{int(dtype[1:]) // 8}").tobytes()
    with opened(written(tmp_path / "a", dtype, (1, 1), data)) as found:
        assert abs(found.read("a")).item() == abs(least)


def test_what_is_empty_has_a_line_without_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "F32", (0, 7), b"")
    assert list(lines(path))[2].split() == ["a", "0x7"]


@pytest.mark.parametrize(
    ("dtype", "shape", "data", "reason"),
    [
        ("F8_E4M3", (2,), b"\0\0", "tensor 'a' is F8_E4M3, expected one of BF16, F16, F32"),
        ("BOOL", (1,), b"\0", "tensor 'a' is BOOL, expected one of"),
        ("F32", (2,), b"\0" * 4, r"tensor 'a' is F32\[2\] at \[0, 4\], which do not fit"),
        ("F32", (-1, -1), b"\0" * 4, "which do not fit"),
        ("F32", (0, 10**30), b"", "cannot be read as a checkpoint"),
        ("F32", (1,) * 99, b"\0" * 4, "cannot be read as a checkpoint"),
    ],
)
def test_what_holds_no_numbers_is_refused(
    dtype: str, shape: tuple[int, ...], data: bytes, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=reason):
        list(lines(written(tmp_path / "a", dtype, shape, data)))


def test_names_and_facts_are_said_on_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(header.encode({"\udce9\n": Entry("F32", (0,), (0, 0))}, {"step": "1\n2"}))
    facts, _, row = lines(path)
    assert facts == r"step 1\n2"
    assert row.split()[0] == r"\udce9\n"
