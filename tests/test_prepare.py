"""`runtime.data.prepare`: the same bytes however it went, and nothing bad taken in."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from runtime.data.decode import decode
from runtime.data.store import manifest, tensors
from runtime.data.store.manifest import LeftOut
from tests.commands import ROOT, Finished, assert_refused, python
from tests.photographs import encoded, source, view

SIZE = 32
COUNT = 300

# A command whose shards are small, so that a few images make many.
SMALL = (
    "import runtime.data.store.shard as shard; shard.BYTES = 2**16;"
    "from runtime.data.prepare import main; from ir.command import run; run(main)"
)


def prepare(origin: Path, store: Path, *more: str, workers: int = 1) -> Finished:
    options = ["--size", str(SIZE), "--workers", str(workers), *more]
    return python("runtime.data.prepare", str(origin), str(store), *options)


def files(store: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in store.iterdir()}


def left_out(store: Path) -> tuple[LeftOut, ...]:
    return manifest.read(store).left_out


def images(store: Path, part: str) -> dict[str, tensors.Array]:
    """By name."""
    shards = [tensors.mapped(store / each.file) for each in manifest.read(store).shards(part)]
    return {
        name: image
        for found in shards
        for name, image in zip(found.facts["names"], found.arrays["images"], strict=True)
    }


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source(tmp_path_factory.mktemp("origin"), COUNT)


@pytest.fixture(scope="module")
def whole(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store made at one go, with small shards."""
    store = tmp_path_factory.mktemp("whole") / "store"
    assert small(origin, store).wait() == 0
    return store


def small(origin: Path, store: Path, workers: int = 2) -> "subprocess.Popen[bytes]":
    options = [str(origin), str(store), "--size", str(SIZE), "--workers", str(workers)]
    return subprocess.Popen(
        [sys.executable, "-c", SMALL, *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


# ------------------------------------------------------------------------------ content


def test_every_image_is_there_once_as_it_is_decoded(origin: Path, whole: Path) -> None:
    train, validation = images(whole, "train"), images(whole, "validation")
    expected = {str(path.relative_to(origin)): path for path in origin.rglob("*.jpg")}
    assert train.keys() | validation.keys() == expected.keys()
    assert len(train) + len(validation) == COUNT
    for name, image in (train | validation).items():
        assert np.array_equal(image, decode(expected[name].read_bytes(), SIZE))


def test_training_is_shuffled_and_validation_is_not(whole: Path) -> None:
    assert list(images(whole, "validation")) == sorted(images(whole, "validation"))
    train = list(images(whole, "train"))
    assert train != sorted(train)


def test_mean_and_covariance_are_those_of_the_pixels(whole: Path) -> None:
    pixels = np.stack(list(images(whole, "train").values())).astype(float)
    summary = tensors.mapped(whole / "summary.safetensors").arrays
    np.testing.assert_allclose(summary["mean"], pixels.mean(axis=0), rtol=1e-7)
    colours = pixels.transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(summary["covariance"], np.cov(colours), rtol=1e-10)


def test_the_number_of_workers_changes_nothing(origin: Path, whole: Path, tmp_path: Path) -> None:
    assert small(origin, tmp_path / "store", workers=1).wait() == 0
    assert files(tmp_path / "store") == files(whole)


def test_another_seed_shuffles_and_splits_otherwise(origin: Path, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        assert prepare(origin, tmp_path / seed, "--seed", seed).code == 0
    first, second = (images(tmp_path / seed, "train") for seed in ("0", "1"))
    assert list(first) != list(second)
    assert set(first) != set(second)


# -------------------------------------------------------------------------- bad images


def spoil(origin: Path) -> dict[str, str]:
    """Files that must not get in, and a part of the reason."""
    bad = {
        "left/a.jpg": (b"", "is empty"),
        "left/b.jpg": (encoded(view(1))[:2000], "truncated"),
        "right/c.png": (b"no image at all", "is no JPEG or PNG image"),
        "right/line\nbreak.jpg": (encoded(view(1), "GIF"), "is no JPEG or PNG image"),
    }
    for name, (data, _) in bad.items():
        (origin / name).write_bytes(data)
    return {name: reason for name, (_, reason) in bad.items()}


def test_bad_images_are_named_with_the_reason_and_left_out(tmp_path: Path) -> None:
    origin, store = source(tmp_path / "origin", 40), tmp_path / "store"
    bad = spoil(origin)
    done = prepare(origin, store, "--on-error", "skip", "--write-hashes", str(tmp_path / "sums"))
    assert done.code == 0, done.err
    found = {each.name: each.reason for each in left_out(store)}
    assert found.keys() == bad.keys()
    for name, reason in bad.items():
        assert reason in found[name]
        assert repr(name)[1:-1] in done.out
    assert "left out    4" in done.out
    assert "cannot be seen without hashes" in done.out
    names = images(store, "train") | images(store, "validation")
    assert len(names) == 40
    assert len((tmp_path / "sums").read_bytes().splitlines()) == 40


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_bad_image_ends_the_command(tmp_path: Path, workers: int) -> None:
    origin = source(tmp_path / "origin", 10)
    (origin / "left" / "bad.jpg").write_bytes(b"")
    done = prepare(origin, tmp_path / "store", workers=workers)
    assert_refused(done, "left/bad.jpg: is empty", code=3)
    assert not (tmp_path / "store" / "store.json").exists()


def test_hashes_find_what_a_decoder_cannot(tmp_path: Path) -> None:
    origin, sums = source(tmp_path / "origin", 20), tmp_path / "sums"
    assert prepare(origin, tmp_path / "one", "--write-hashes", str(sums)).code == 0
    changed, gone = origin / "left" / "0002.jpg", origin / "right" / "0003.jpg"
    changed.write_bytes(encoded(view(99, 48, 36)))
    gone.unlink()
    (origin / "left" / "new.jpg").write_bytes(encoded(view(98, 48, 36)))
    with_hashes = ("--hashes", str(sums))
    done = prepare(origin, tmp_path / "two", *with_hashes, "--on-error", "skip")
    found = {each.name: each.reason for each in left_out(tmp_path / "two")}
    assert done.code == 0
    assert found.keys() == {"left/0002.jpg", "right/0003.jpg", "left/new.jpg"}
    assert "expected" in found["left/0002.jpg"]
    assert found["right/0003.jpg"] == "has a hash in the list, but is missing"
    assert found["left/new.jpg"] == "has no hash in the list"
    assert "cannot be seen" not in done.out
    assert_refused(prepare(origin, tmp_path / "three", *with_hashes), "right/0003.jpg", code=3)
    gone.write_bytes(b"back, but not the same")
    refused = prepare(origin, tmp_path / "three", *with_hashes)
    assert_refused(refused, ".jpg: has ", code=3)


# ---------------------------------------------------------------------------- attempts


def killed(process: "subprocess.Popen[bytes]", store: Path, shards: int, wait: float) -> bool:
    """Kill the command a moment after it has made some more shards; whether it still ran."""
    before = set(store.glob("*.safetensors"))
    while process.poll() is None and len({*store.glob("*.safetensors")} - before) < shards:
        time.sleep(0.002)
    time.sleep(wait)
    process.kill()
    return process.wait() == -signal.SIGKILL


def test_a_killed_command_goes_on_to_the_same_bytes(
    origin: Path, whole: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    draw = random.Random(0)
    store, expected = tmp_path / "store", files(whole)
    for _ in range(30 if request.config.getoption("full") else 2):
        made = sorted(store.glob("*.safetensors"))
        for path in draw.sample(made, len(made) * 2 // 3):
            path.unlink()  # so that there is always something to do
        assert killed(small(origin, store), store, draw.randrange(4), draw.random() / 20)
    assert not (store / "store.json").exists()
    half = store / ".train-00001.safetensors.123"
    half.write_bytes(b"half")
    for path in store.glob("train-*.safetensors"):
        spoil_bit(path, draw)  # nothing that is there is trusted
    assert small(origin, store).wait() == 0
    assert files(store) == expected


def spoil_bit(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def test_workers_leave_with_the_command(origin: Path, tmp_path: Path) -> None:
    process = small(origin, tmp_path / "store")
    killed(process, tmp_path / "store", 1, 0)
    for _ in range(2000):  # not a deadline, which passes while the whole machine stands still
        if not group(process.pid):
            return
        time.sleep(0.05)
    assert not group(process.pid)


def group(leader: int) -> dict[int, str]:
    """Which processes a command has, each with whether it runs, sleeps, or waits for a disk (D)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_leader, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(its_leader) == leader and state != "Z":
            found[int(path.parent.name)] = state
    return found


def test_a_folder_of_others_is_left_alone(origin: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    assert_refused(prepare(origin, tmp_path), "is not empty, and holds no unfinished store")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    before = files(whole)
    assert_refused(prepare(origin, whole), "holds a finished store")
    assert files(whole) == before


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--seed", "5"], "seed was 0, expected 5"),
        (["--size", "31"], "size was 32, expected 31"),
        (["--on-error", "skip"], "on-error was fail, expected skip"),
        (["--validation", "0.3"], "images"),
    ],
)
def test_an_unfinished_store_goes_on_only_as_it_began(
    origin: Path, tmp_path: Path, more: list[str], word: str
) -> None:
    killed(small(origin, tmp_path / "store"), tmp_path / "store", 1, 0)
    done = prepare(origin, tmp_path / "store", *more)
    assert_refused(done, "unfinished, but", word, "remove it to begin anew")


@pytest.mark.parametrize(
    ("note", "word"),
    [
        ("", "is no JSON object"),
        ("[]", "is no JSON object"),
        ("[" * 100_000, "is no JSON object"),
        ('{"version": "a\\nb"}', r"version was a\nb, expected 1"),
    ],
)
def test_a_note_that_is_none_is_refused(origin: Path, tmp_path: Path, note: str, word: str) -> None:
    (tmp_path / "unfinished.json").write_text(note)
    done = prepare(origin, tmp_path)
    assert_refused(done, str(tmp_path), word, "to begin anew")
    assert done.err.count("\n") == 1


def test_two_commands_do_not_share_a_store(origin: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = small(origin, store)
    while not list(store.glob("*.safetensors")):
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)
    done = prepare(origin, store)
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert_refused(done, "another process is preparing this store")


# ----------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "option",
    [("--size", "0"), ("--validation", "1"), ("--seed", "-1"), ("--workers", "0")],
)
def test_options_out_of_range_are_refused(
    origin: Path, tmp_path: Path, option: Iterable[str]
) -> None:
    done = prepare(origin, tmp_path / "store", *option)
    assert done.code == 2
    assert not (tmp_path / "store").exists()


def test_lack_of_space_is_said_before_anything_is_made(tmp_path: Path) -> None:
    origin = tmp_path / "list"
    origin.write_text("".join(f"{number}.jpg {number % 2}\n" for number in range(100_000)))
    done = prepare(origin, tmp_path / "store", "--size", "4096")
    assert_refused(done, "100,000 images of 4096x4096 need", "GB are free", code=4)
    assert not list((tmp_path / "store").iterdir())


def test_records_keep_their_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3073)).astype(np.uint8)
    pixels[:, 0] = np.arange(6) % 2
    (tmp_path / "data_batch_1.bin").write_bytes(pixels.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(pixels[:2].tobytes())
    (tmp_path / "batches.meta.txt").write_text("a\nb\n")
    done = python("runtime.data.prepare", str(tmp_path), str(tmp_path / "store"))
    assert done.code == 0, done.err
    found = images(tmp_path / "store", "train")
    for number, record in enumerate(pixels):
        image = found[f"data_batch_1.bin/{number:05}"]
        assert np.array_equal(image.ravel(), record[1:])
    assert json.loads((tmp_path / "store" / "store.json").read_text())["size"] == SIZE
