"""Files are written whole or not at all, whatever their path leads to."""

import os
from pathlib import Path

import pytest

from ir.command import Error
from runtime import files


def test_of_a_link_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    for text in ("one", "two"):
        files.write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far" / "file").read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "file", "link"]


def test_what_is_no_file_is_written_to() -> None:
    reader, writer = os.openpty()
    try:
        files.write_text(Path(os.ttyname(writer)), "text")
        assert os.read(reader, 10) == b"text"
        assert Path(os.ttyname(writer)).is_char_device()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("name", [".", "", "/", "x" * 300, "x" * 300 + "/y"])
def test_what_cannot_be_a_file_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Error, match=r": cannot be written: [^\n]+$"):
        files.write_text(Path(name), "text")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_one_process_s_alone(tmp_path: Path) -> None:
    refusal = pytest.raises(Error, match="another process is here")
    with files.alone(tmp_path, "here"), refusal, files.alone(tmp_path, "here"):
        pass
    with files.alone(tmp_path, "here"):
        pass
