"""One training step of AlexNet, ours beside PyTorch's: `python -m benchmarks.step`.

Every contestant is a process of its own; they take turns, step by step, so that a noisy moment
hits all of them. Prints medians and ratios and writes them as JSON. PyTorch (`make test-torch`
installs it) gets float images that are cropped already; our step starts from stored bytes.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.contest import Contestant, serve
from benchmarks.peers import MODES, torch_step
from ir.command import run
from ir.op import Array
from ir.plan import Feed, folder, read
from runtime.devices import open_executor

RESULTS = Path(__file__).parent / "results" / "step.json"
OURS = "tandem"
DTYPES = {"u8": np.uint8, "i32": np.int32, "u32": np.uint32}
PAUSE = 0.3
"""Seconds between turns: threads of the one before must stop spinning."""


def main() -> None:
    """Measure steps, print the table."""
    options = _options()
    if options.worker:
        return _work(options)
    names = [OURS, *options.modes] if importlib.util.find_spec("torch") else [OURS]
    if len(names) == 1:
        print("PyTorch is not installed: make test-torch installs it", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        plan = _build(options, Path(folder) / "plan.json")
        contestants = [_contestant(name, options, plan) for name in names]
        for number in range(options.warm + options.rounds):
            for each in contestants:
                time.sleep(PAUSE)
                seconds = each.turn()
                if number >= options.warm:
                    each.seconds.append(seconds)
            print(f"round {number + 1}", file=sys.stderr)
        for each in contestants:
            each.leave()
    _report(options, contestants)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=main.__doc__)
    add = parser.add_argument
    add("--batch", type=int, default=128, help="images per step (default 128)")
    add("--threads", type=int, default=os.cpu_count(), help="of each contestant (default all)")
    add("--rounds", type=int, default=7, help="steps of each contestant (default 7)")
    add("--warm", type=int, default=2, help="steps before that (default 2)")
    add("--modes", nargs="*", choices=MODES, default=list(MODES), help="of PyTorch (default all)")
    add("--devices", default="cpu:0,cpu:1", help="of our plan (default cpu:0,cpu:1)")
    add("--worker", help=argparse.SUPPRESS)
    add("--plan", help=argparse.SUPPRESS)
    return parser.parse_args()


def _contestant(name: str, options: argparse.Namespace, plan: Path) -> Contestant:
    command = [sys.executable, "-m", "benchmarks.step", "--worker", name, "--plan", str(plan)]
    command += ["--batch", str(options.batch), "--threads", str(options.threads)]
    return Contestant(name, command, MODES.get(name, {}))


def _build(options: argparse.Namespace, plan: Path) -> Path:
    model = [sys.executable, "-m", "frontend.alexnet", "--batch", str(options.batch)]
    text = subprocess.run(model, check=True, capture_output=True).stdout
    build = [sys.executable, "-m", "codegen.build", "-o", str(plan), "--devices", options.devices]
    subprocess.run(build, input=text, check=True, stdout=sys.stderr)
    return plan


def _work(options: argparse.Namespace) -> None:
    """Be a contestant: a step at each turn."""
    ours = options.worker == OURS
    serve(
        _our_step(options.plan, options.threads)
        if ours
        else torch_step(options.worker, options.batch, options.threads)
    )


def _our_step(path: str, threads: int) -> Callable[[], None]:
    """A step of a plan on random images, the host's part (feeding them) included."""
    plan = read(Path(path))
    executor = open_executor(plan, folder(Path(path)), threads=threads)
    executor.states.initialise(seed=0)
    feeds = {feed.logical: _value(feed) for feed in plan.programs["train"].feeds}
    packed = {name: executor.pack("train", name, value) for name, value in feeds.items()}

    def step() -> None:
        for name, value in packed.items():
            executor.feed("train", name, value)
        executor.run("train")

    return step


def _value(feed: Feed) -> Array:
    """Random bytes and places, a small rate."""
    shape, random = feed.tensor.layout.shape, np.random.default_rng(0)
    if feed.tensor.dtype == "f32":
        return np.full(shape, 1.0 if feed.logical == "weights" else 1e-3, np.float32)
    below = 256 if feed.tensor.dtype == "u8" else max(feed.below, 1)
    return random.integers(0, below, shape).astype(DTYPES[feed.tensor.dtype])


def _report(options: argparse.Namespace, contestants: list[Contestant]) -> None:
    ours = median(contestants[0].seconds)
    rows = []
    print(f"{'seconds per step':38} {'median':>7} {'least':>7} {'images/s':>9} {'ratio':>6}")
    for each in contestants:
        middle, least = median(each.seconds), min(each.seconds)
        rate = options.batch / middle
        print(f"{each.name:38} {middle:7.3f} {least:7.3f} {rate:9.1f} {middle / ours:6.2f}")
        rows.append({"name": each.name, "seconds": each.seconds, "median": middle})
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": options.threads}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**machine, "batch": options.batch, "rows": rows}, indent=1))


if __name__ == "__main__":
    run(main)
