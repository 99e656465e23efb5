"""`runtime.weights`: its table has every parameter's magnitudes, as NumPy finds them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from safetensors.numpy import save, save_file

from ir.command import Exit
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
