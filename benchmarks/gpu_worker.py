"""One that does steps of AlexNet on a GPU when it is told to: `python -m benchmarks.gpu_worker`.

It is ours, or one of PyTorch's modes; `gpu_steps` starts it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.contest import serve
from benchmarks.peers import torch_gpu_step
from ir.command import run
from ir.plan import folder, read
from runtime.devices import open_executor
from tests.gpu.feeds import random_feeds

ONE, TWO, FED = "tandem cuda:0", "tandem cuda:0,cuda:0", "tandem cuda:0, new images"
OURS = (ONE, TWO, FED)
"""Our contestants; only the last one's images do not stay on the GPU."""
STEPS = 20
"""In one turn."""


def main() -> None:
    """Be a contestant: some steps at each turn."""
    options = _options()
    if options.name in OURS:
        step, wait = our_step(Path(options.plan), fed=options.name == FED)
    else:
        step, wait = torch_gpu_step(options.name, options.precision, options.batch)

    def turn() -> None:
        for _ in range(STEPS):
            step()
        wait()

    serve(turn)


def our_step(path: Path, *, fed: bool) -> tuple[Callable[[], None], Callable[[], object]]:
    """A step of a plan on random images, new ones each time if they are fed, and what waits for
    the last step."""
    plan = read(path)
    executor = open_executor(plan, folder(path))
    executor.states.initialise(seed=0)
    packed = [
        {
            name: executor.pack("train", name, value)
            for name, value in random_feeds(plan.programs["train"], seed).items()
        }
        for seed in range(2)
    ]
    count, last = 0, None

    def step() -> None:
        nonlocal count, last
        for name, value in packed[count % 2 if fed else 0].items():
            executor.feed("train", name, value)
        last = executor.run("train")
        count += 1

    return step, lambda: last and last()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_worker", description=main.__doc__
    )
    add = parser.add_argument
    add("plan", metavar="PLAN", help="of our steps")
    add("name", metavar="NAME", help=f"{', '.join(OURS)}, or a mode of PyTorch")
    add("--precision", required=True, help="of PyTorch")
    add("--batch", type=int, required=True, help="of PyTorch")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
