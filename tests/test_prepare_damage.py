"""Files damaged by chance: hashes name every one, and without them all that a decoder can see."""

import json
import random
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from runtime.data.store import manifest
from tests.commands import ROOT
from tests.photographs import encoded, view

WHOLE = 20
MOST_MEMORY = 500e6  # bytes, of the command and its workers together

# Runs a command and says how much memory the largest of its processes took.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", *sys.argv[1:]], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps([done.returncode, done.stdout, done.stderr, peak]))
"""


def damaged(data: bytes, draw: random.Random) -> bytes:
    """With some bytes flipped, cut or inserted."""
    spoiled, place = bytearray(data), draw.randrange(len(data))
    match draw.choice(("flip", "cut", "insert", "end")):
        case "flip":
            for _ in range(draw.randint(1, 20)):
                spoiled[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        case "cut":
            del spoiled[place : place + draw.randint(1, 500)]
        case "insert":
            spoiled[place:place] = draw.randbytes(draw.randint(1, 500))
        case "end":
            del spoiled[place:]
    return bytes(spoiled) if spoiled != data else damaged(data, draw)


def seen_by_pillow(path: Path) -> bool:
    try:
        Image.open(BytesIO(path.read_bytes()), formats=("JPEG", "PNG")).load()
    except Exception:
        return True
    return False


def prepare(origin: Path, store: Path, *more: str) -> tuple[int, str, str, float]:
    command = ["runtime.data.prepare", str(origin), str(store), "--workers", "2", *more]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], cwd=ROOT, capture_output=True, check=True
    )
    code, out, err, peak = json.loads(done.stdout)
    return code, out, err, peak


def test_damage_is_named(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    origin, draw = tmp_path / "origin", random.Random(0)
    count = 1500 if request.config.getoption("full") else 120
    for number in range(WHOLE + count):
        path = origin / ("left", "right")[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if number % 5 == 4 else "JPEG"
        path.write_bytes(encoded(view(number), kind))
    sums = str(tmp_path / "sums")
    assert prepare(origin, tmp_path / "good", "--write-hashes", sums)[0] == 0
    paths = sorted(origin.rglob("*.jpg"))
    bad = {str(p.relative_to(origin)): p for p in draw.sample(paths, count)}
    for path in bad.values():
        path.write_bytes(damaged(path.read_bytes(), draw))

    skip = ("--on-error", "skip")
    with_hashes = prepare(origin, tmp_path / "hashed", "--hashes", sums, *skip)
    without = prepare(origin, tmp_path / "unhashed", *skip)
    for code, _, err, peak in (with_hashes, without):
        assert code == 0, err
        assert 3 * peak < MOST_MEMORY
    named = {each.name for each in manifest.read(tmp_path / "hashed").left_out}
    assert named == bad.keys()
    seen = {each.name for each in manifest.read(tmp_path / "unhashed").left_out}
    assert {name for name, path in bad.items() if seen_by_pillow(path)} <= seen <= bad.keys()
    assert 0.3 * count < len(seen)
    assert all(name in without[1] for name in seen)
    assert "cannot be seen without hashes" in without[1]
