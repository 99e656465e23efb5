"""How fast images come, from JPEGs to a store and on to a device: `python -m benchmarks.input`.

Pillow's own decoding and resizing of the same files is the measure for `runtime.data.prepare`. The
input pipeline is what a training step waits for: images and draws of a batch, packed as a plan's
kernels read them. Seconds are those of the processor, so other work does not count. Prints a table
and writes it as JSON.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from codegen.layout import LANES, Blocked, layout_of
from ir.command import run
from ir.plan import Feed, Tensor
from ir.type import DType, TensorType
from runtime.data import sources, store
from runtime.data.batches import Batches
from runtime.data.sources.split import split
from runtime.data.store.attempt import Choices, Content
from runtime.data.store.making import Task, make
from runtime.data.store.preparation import prepare
from runtime.data.workers import keep_memory
from runtime.packing import pack
from tests.photographs import encoded, view

RESULTS = Path(__file__).parent / "results" / "input.json"
WIDTH, HEIGHT, SIZE, CROP = 500, 375, 256, 224


def rate(work: Callable[[], object], images: int, repeat: int) -> float:
    """Images per second of processor time, in the fastest of some runs: noise only slows."""
    seconds = []
    for _ in range(repeat):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return images / min(seconds)


def decode_with_pillow(files: list[bytes]) -> None:
    """What the simplest program would do: decode, resize with Pillow's filter, crop."""
    for data in files:
        image = Image.open(BytesIO(data)).convert("RGB")
        scale = SIZE / min(image.size)
        width, height = (round(length * scale) for length in image.size)
        whole = image.resize((width, height), Image.Resampling.BOX)
        left, upper = (width - SIZE) // 2, (height - SIZE) // 2
        np.asarray(whole.crop((left, upper, left + SIZE, upper + SIZE)))


def feeds(batch: int, blocked: Blocked) -> list[Feed]:
    """The feeds of a training program, laid out as its kernels read them."""
    shapes: dict[str, tuple[str, tuple[int, ...], int]] = {
        "images": ("u8", (batch, 3, SIZE, SIZE), 0),
        "labels": ("i32", (batch,), 1000),
        "weights": ("f32", (batch,), 0),
        "offset": ("i32", (batch, 2), SIZE - CROP + 1),
        "flip": ("i32", (batch,), 2),
        "shift": ("f32", (batch, 3), 0),
    }
    made = []
    for name, (dtype, shape, below) in shapes.items():
        layout = blocked.record(TensorType(shape, DType(dtype)))
        tensor = Tensor(name=name, device=0, offset=0, bytes=64, dtype=dtype, layout=layout)  # type: ignore[arg-type]
        made.append(Feed(tensor=tensor, logical=name, below=below))
    return made


def feed_rate(folder: Path, batch: int, blocked: Blocked, repeat: int) -> float:
    """Images per second from a store to packed feeds, all that is drawn for them included."""
    dataset, program = store.opened(folder, SIZE), feeds(batch, blocked)
    augment = dataset.recipe.augment
    batches = Batches(dataset, dataset.train, program, seed=0, augment=augment)
    layouts = {feed.logical: feed.tensor.layout for feed in program}

    def step() -> None:
        for name, value in batches.batch(0).items():
            pack(value, layouts[name])

    step()
    return rate(step, batch, repeat)


def main() -> None:
    """Measure, print a table, write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input", description=main.__doc__)
    parser.add_argument("--images", type=int, default=256, help="JPEGs (default 256)")
    parser.add_argument("--batch", type=int, default=128, help="images of a step (default 128)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each (default 5)")
    options = parser.parse_args()
    rows: dict[str, float] = {}
    keep_memory()  # as the workers of `prepare` do
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = [encoded(view(n, WIDTH, HEIGHT), quality=90) for n in range(options.images)]
        for number, data in enumerate(files):
            path = folder / "source" / f"class{number % 2}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        found = sources.opened(folder / "source")
        task = Task(folder / "shard", found.train, SIZE, None, False, None)

        def shard() -> None:
            task.path.unlink(missing_ok=True)
            make(task)

        rows["pillow"] = rate(lambda: decode_with_pillow(files), len(files), options.repeat)
        rows["prepare"] = rate(shard, len(files), options.repeat)
        parts = {part: each for part, each in split(found, 0.1, 0).items()}
        content = Content(found.about, found.classes, None, parts)
        prepare(folder / "store", content, Choices(SIZE, 0, skip=False), workers=1)
        for kind in LANES:
            blocked, repeat = layout_of(kind), options.repeat
            rows[f"feed {kind}"] = feed_rate(folder / "store", options.batch, blocked, repeat)
    print(f"{'':12} images/s and core; {WIDTH}x{HEIGHT} JPEGs, stored {SIZE}x{SIZE}")
    for name, value in rows.items():
        print(f"{name:12} {value:8.0f}")
    facts = {"python": platform.python_version(), "machine": platform.machine(), "rows": rows}
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"written to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
