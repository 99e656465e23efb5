"""Sources: each kind lists the same images; archives hold files and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.command import DataError
from runtime.data.decode import Refused
from runtime.data.sources import Source, hashes, opened
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.split import split
from tests.commands import ROOT
from tests.counts import cases

DOCUMENTATION = ROOT / "docs" / "imagenet.md"
SYNSETS = {"n0000002": "kit fox, Vulpes", "n0000001": "tench", "n0000003": ""}
NUMBERS = {7: "n0000002", 3: "n0000001", 900: "n0000003"}


def fill(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def contents(source: Source, listing: Listing | None) -> dict[bytes, str]:
    """By the bytes of each image, the name of its class."""
    assert listing is not None
    return {listing.read(i): source.classes[listing.labels[i]] for i in range(len(listing))}


def tar(files: dict[str, bytes]) -> bytes:
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return made.getvalue()


def ilsvrc(root: Path) -> Path:
    classes = {
        f"{synset}.tar": tar({f"{synset}_{i}.JPEG": f"{synset} {i}".encode() for i in range(9)})
        for synset in SYNSETS
    }
    fill(root / "ILSVRC2012_img_train.tar", tar(classes))
    fill(root / "ILSVRC2012_img_val.tar", tar({f"val_{i:02}.JPEG": b"%d" % i for i in range(6)}))
    fill(root / "ILSVRC2012_validation_ground_truth.txt", "7\n3\n900\n900\n3\n7\n")
    lines = [f"{number} {synset} {SYNSETS[synset]}\n" for number, synset in NUMBERS.items()]
    fill(root / "synsets.txt", "".join([*lines, "1001 n0000009 no leaf\n"]))
    return root


# -------------------------------------------------------------------------------- kinds


def test_each_folder_is_a_class(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/deep/1.png", "a/3.JPEG", "a/.hidden", ".git/x", "readme.txt"):
        fill(tmp_path / name, name)
    found = opened(tmp_path)
    assert found.classes == ("a", "b")
    assert found.validation is None
    assert found.train.names == ["a/3.JPEG", "b/2.jpg", "b/deep/1.png"]
    assert contents(found, found.train) == {b"a/3.JPEG": "a", b"b/2.jpg": "b", b"b/deep/1.png": "b"}


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    for name in ("here/a/1", "there/more/2", "other/3"):
        fill(tmp_path / name, name)
    (tmp_path / "here" / "a" / "deep").symlink_to(tmp_path / "there")
    (tmp_path / "here" / "b").symlink_to("../other")
    found = opened(tmp_path / "here")
    assert found.train.names == ["a/1", "a/deep/more/2", "b/3"]
    assert contents(found, found.train) == {b"here/a/1": "a", b"there/more/2": "a", b"other/3": "b"}


@pytest.mark.parametrize("link", ["a/x", "a/deep/x", "b"])
@pytest.mark.parametrize("target", ["a", "a/deep"])
def test_a_folder_is_listed_once(tmp_path: Path, link: str, target: str) -> None:
    fill(tmp_path / "a" / "deep" / "1", "")
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(DataError, match=f"/{link}: is .*/{target} once more, expected each"):
        opened(tmp_path)


@pytest.mark.parametrize("second", ["val", "validation"])
def test_two_folders_are_two_parts(tmp_path: Path, second: str) -> None:
    for name in ("train/a/1", "train/b/1", f"{second}/b/1"):
        fill(tmp_path / name, name)
    found = opened(tmp_path)
    assert contents(found, found.train) == {b"train/a/1": "a", b"train/b/1": "b"}
    assert contents(found, found.validation) == {f"{second}/b/1".encode(): "b"}


def test_lists_name_images_and_labels(tmp_path: Path) -> None:
    for name in ("with space.jpg", "b.jpg", "c.jpg"):
        fill(tmp_path / "images" / name, name)
    fill(tmp_path / "train.txt", "images/with space.jpg 0\n\nimages/b.jpg\t02\n")
    fill(tmp_path / "val.txt", "images/c.jpg 2\n")
    both, one = opened(tmp_path), opened(tmp_path / "train.txt")
    assert both.classes == one.classes == ("0", "1", "2")
    expected = {b"with space.jpg": "0", b"b.jpg": "2"}
    assert contents(both, both.train) == contents(one, one.train) == expected
    assert contents(both, both.validation) == {b"c.jpg": "2"}


def test_labels_may_be_names(tmp_path: Path) -> None:
    fill(tmp_path / "list", "x dog\ny cat\n")
    assert opened(tmp_path / "list").classes == ("cat", "dog")


def test_archives_are_read_where_they_lie(tmp_path: Path) -> None:
    found = opened(ilsvrc(tmp_path))
    assert found.classes == ("n0000001 tench", "n0000002 kit fox, Vulpes", "n0000003")
    train, validation = contents(found, found.train), contents(found, found.validation)
    assert train == {
        f"{synset} {i}".encode(): f"{synset} {words}".strip()
        for synset, words in SYNSETS.items()
        for i in range(9)
    }
    expected = [NUMBERS[number] for number in (7, 3, 900, 900, 3, 7)]
    assert [validation[b"%d" % i].split()[0] for i in range(6)] == expected


def test_the_documented_line_lists_the_kit_s_synsets(tmp_path: Path) -> None:
    line = re.search(r'python (-c ".*" > synsets.txt)', DOCUMENTATION.read_text("utf-8"), re.DOTALL)
    assert line
    rows = [(7, "n0000002", "kit fox, Vulpes", "a fox", 0), (3, "n0000001", "tench", "", 0)]
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    synsets = np.array([rows], [(name, object) for name in fields]).T
    pytest.importorskip("scipy.io").savemat(tmp_path / "meta.mat", {"synsets": synsets})
    subprocess.run(f'"{sys.executable}" {line[1]}', shell=True, cwd=tmp_path, check=True)
    listed = (tmp_path / "synsets.txt").read_text("utf-8")
    assert listed == "7 n0000002 kit fox, Vulpes\n3 n0000001 tench\n"


def test_records_hold_pixels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    records = {
        name: draw.integers(0, 256, (4, 3073)).astype(np.uint8)
        for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin")
    }
    for name, some in records.items():
        some[:, 0] %= 3
        fill(tmp_path / name, some.tobytes())
    fill(tmp_path / "batches.meta.txt", "plane\ncar\nbird\n\n")
    found = opened(tmp_path)
    assert (found.size, found.pixels) == (32, 32)
    names = ("plane", "car", "bird")
    first = np.concatenate([records["data_batch_1.bin"], records["data_batch_2.bin"]])
    assert contents(found, found.train) == {r[1:].tobytes(): names[r[0]] for r in first}
    last = {r[1:].tobytes(): names[r[0]] for r in records["test_batch.bin"]}
    assert contents(found, found.validation) == last


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "has no class folders"),
        ({"a/.x": "", "b/1": ""}, "a: is a class without files"),
        ({"train/a/1": "", "val/b/1": ""}, "val/b: is no class of"),
        ({"train.txt": "alone\n", "val.txt": ""}, "train.txt:1: expected a path and a label"),
        ({"train.txt": "x 1\nx 2\n", "val.txt": ""}, "train.txt:2: x is listed twice"),
        ({"train.txt": "", "val.txt": ""}, "train.txt: is empty"),
        ({"train.txt": "x 1\n"}, "val.txt: cannot be read: No such file"),
        ({"train.txt": "x 1\n", "val.txt": "y 5\n"}, "label '5' is not in train.txt"),
        ({"train.txt": "x 1\n", "val.txt": "x 1\n"}, "x is there twice"),
        ({"train.txt": "x 100000\n", "val.txt": "y 5\n"}, "label 100000, expected up to 5 digits"),
        ({"train.txt": f"x {'9' * 9999}\n", "val.txt": "y 5\n"}, "expected up to 5 digits"),
        ({"train.txt": b"\xff 1\n", "val.txt": ""}, "train.txt:1: is not UTF-8"),
        ({"test_batch.bin": b"\0" * 3072, "batches.meta.txt": "a"}, "3072 bytes, expected records"),
        ({"test_batch.bin": b"\1" * 3073, "batches.meta.txt": "a"}, "record 0 has label 1"),
        ({"test_batch.bin": b""}, "batches.meta.txt: cannot be read"),
    ],
)
def test_a_source_that_is_wrong_is_refused(
    tmp_path: Path, files: dict[str, str | bytes], complaint: str
) -> None:
    for name, text in files.items():
        fill(tmp_path / name, text)
    with pytest.raises(DataError, match=complaint):
        opened(tmp_path)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing: does not exist"):
        opened(tmp_path / "nothing")


def _with(member: tarfile.TarInfo) -> bytes:
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("first"))
        archive.addfile(member)
    return made.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (member("/etc/passwd"), "leads out of the archive"),
        (member("a/../../x"), "leads out of the archive"),
        (member("x", tarfile.SYMTYPE, "/etc/passwd"), "neither a plain file nor a folder"),
        (member("x", tarfile.LNKTYPE, "first"), "neither a plain file nor a folder"),
        (member("x", tarfile.CHRTYPE), "neither a plain file nor a folder"),
        (member("x", tarfile.FIFOTYPE), "neither a plain file nor a folder"),
    ],
)
def test_archives_hold_files_and_nothing_else(
    tmp_path: Path, bad: tarfile.TarInfo, complaint: str, inner: bool
) -> None:
    if inner:
        fill(ilsvrc(tmp_path) / "ILSVRC2012_img_train.tar", tar({"n0000001.tar": _with(bad)}))
    else:
        fill(ilsvrc(tmp_path) / "ILSVRC2012_img_val.tar", _with(bad))
    with pytest.raises(DataError, match=complaint):
        opened(tmp_path)


@cases(full=300, sample=40)
@given(share=st.floats(0, 1, exclude_max=True), which=st.sampled_from(["train", "val"]))
def test_an_archive_that_was_cut_is_refused(
    tmp_path_factory: pytest.TempPathFactory, share: float, which: str
) -> None:
    root = ilsvrc(tmp_path_factory.mktemp("cut"))
    path = root / f"ILSVRC2012_img_{which}.tar"
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # of what is not filled up with zeros
    path.write_bytes(whole[: int(share * end)])
    with pytest.raises(DataError):
        opened(root)
    shutil.rmtree(root)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = ilsvrc(tmp_path) / "ILSVRC2012_img_val.tar"
    data = bytearray(path.read_bytes())
    data[3 * 1024 + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged or cut at byte 3072"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "more_train.tar",
            b"",
            "expected one file \\*train\\*.tar, found ILSVRC2012_img_train.tar",
        ),
        ("ILSVRC2012_validation_ground_truth.txt", "7\n", "1 lines, but 6 images"),
        ("ILSVRC2012_validation_ground_truth.txt", "7\n8\n", "txt:2: 8 is no number of a class"),
        ("ILSVRC2012_validation_ground_truth.txt", "9" * 9999, "txt:1: 9+ is no number"),
        ("ILSVRC2012_validation_ground_truth.txt", "1001\n", "txt:1: 1001 is no number of a"),
        ("synsets.txt", "n0000001 tench\n", "synsets.txt:1: expected a number"),
        ("synsets.txt", "1 a\n1 b\n", "synsets.txt:2: expected a number of its own"),
        ("synsets.txt", "1 n0000001\n", "no line for n0000002"),
        ("ILSVRC2012_img_val.tar", b"\x1f\x8b" + bytes(2000), "is no whole, uncompressed tar"),
    ],
)
def test_archives_that_do_not_fit_together_are_refused(
    tmp_path: Path, name: str, text: str | bytes, complaint: str
) -> None:
    fill(ilsvrc(tmp_path) / name, text)
    with pytest.raises(DataError, match=complaint):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.mkdir(), "is no regular file"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    ],
)
def test_what_is_no_file_is_refused(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "x")
    with pytest.raises(Refused, match=reason):
        gather([Item("x", 0)], tmp_path).read(0)


# ---------------------------------------------------------------------------- splitting


@cases(full=300, sample=30)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    share=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**32 - 1),
)
def test_parts_share_nothing_and_miss_nothing(labels: list[int], share: float, seed: int) -> None:
    listing = gather(Item(f"{i:03}", label) for i, label in enumerate(labels))
    parts = split(Source("", tuple("abcdef"), listing), share, seed)
    train, validation = parts["train"], parts["validation"]
    assert sorted([*train.names, *validation.names]) == listing.names
    assert list(validation.names) == sorted(validation.names)
    for label in set(labels):
        count, taken = labels.count(label), validation.labels.tolist().count(label)
        assert taken <= count - 1
        assert taken == 0 if count == 1 else 0 < taken < count * share + 1
    again = split(Source("", tuple("abcdef"), listing), share, seed)
    assert again["train"].names == train.names


def test_a_part_that_is_given_is_kept_and_training_is_shuffled() -> None:
    train, validation = (gather(Item(f"{p}{i:03}", 0) for i in range(50)) for p in "tv")
    parts = split(Source("", ("a",), train, validation), 0.1, 0)
    assert parts["validation"].names == validation.names
    assert sorted(parts["train"].names) == train.names
    assert parts["train"].names != train.names


# ------------------------------------------------------------------------------- hashes


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@cases(full=300, sample=50)
@given(names=st.sets(NAMES, min_size=1, max_size=8), others=st.sets(NAMES, max_size=3))
def test_hashes_come_back(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], others: set[str]
) -> None:
    path = tmp_path_factory.mktemp("hashes") / "sums"
    digests = {name: os.urandom(31) + b"x" for name in names | others}
    hashes.write(path, digests.items())
    listing = gather(Item(name, 0) for name in names)
    (found,), unknown = hashes.read(path, [listing])
    assert [row.tobytes() for row in found] == [digests[name] for name in listing.names]
    assert set(unknown) == others - names


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_writes_what_is_read(tmp_path: Path) -> None:
    names = ["plain", "two  spaces", "back\\slash", "line\nbreak", "ümlaut"]
    for name in names:
        fill(tmp_path / name, name)
    written = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True)
    fill(tmp_path / "sums", written.stdout)
    listing = gather((Item(name, 0) for name in names), tmp_path)
    (found,), unknown = hashes.read(tmp_path / "sums", [listing])
    assert not unknown
    hashes.write(tmp_path / "ours", zip(listing.names, map(bytes, found), strict=True))
    ours = (tmp_path / "ours").read_bytes().splitlines()
    assert sorted(ours) == sorted(written.stdout.splitlines())


@pytest.mark.parametrize("line", ["zz  x", "ab" * 32, "ab" * 32 + " x", "ab" * 31 + "  x"])
def test_a_list_of_other_things_is_refused(tmp_path: Path, line: str) -> None:
    fill(tmp_path / "sums", f"{'ab' * 32}  fine\n{line}\n")
    with pytest.raises(DataError, match="sums:2: expected 64 hex digits"):
        hashes.read(tmp_path / "sums", [])
