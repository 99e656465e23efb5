"""AlexNet on a GPU, ours beside PyTorch's: `python -m benchmarks.gpu --plans FOLDER`.

Measures what the card can do at most, every kernel alone, and whole steps: our contestants and
PyTorch's, each a process of its own, take turns. FOLDER is what `tests.gpu.build` made. Prints
tables, and writes all figures as JSON named after the card.
"""

import argparse
import importlib.metadata
import json
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import gpu_ceilings, gpu_kernels
from benchmarks.contest import Contestant, serve
from benchmarks.gpu_ceilings import Ceilings
from benchmarks.peers import GPU_MODES, torch_gpu_step
from ir.command import Error, run
from ir.plan import folder, read
from runtime.cuda.driver import gpus
from runtime.devices import open_executor
from tests.gpu.feeds import random_feeds

RESULTS = Path(__file__).parent / "results"
ONE, TWO, FED = "tandem cuda:0", "tandem cuda:0,cuda:0", "tandem cuda:0, new images"
OURS = {ONE: "full-one", TWO: "full-two", FED: "full-one"}
"""Our contestants and their plans; PyTorch's images stay on the GPU, only the last one's do not."""
STEPS = 20
"""In one turn."""
WARM = 0.8
"""Of all the time, after which what is still getting ready is out."""

Figures = dict[str, object]


def main() -> None:
    """Measure a GPU: its limits, our kernels, our steps and PyTorch's."""
    options = _options()
    if options.worker:
        return _work(options)
    found = gpus()
    if not found:
        raise Error("no GPU can be used here; expected one, its driver, and the extra cuda")
    plans, card = Path(options.plans), found[0].name
    ceilings = gpu_ceilings.measured(plans)
    print(f"{card}: {ceilings.flops / 1e12:.1f} TFLOP/s, {ceilings.bytes / 1e9:.0f} GB/s")
    target = Path(options.out) / f"{re.sub('[^a-z0-9]+', '-', card.lower()).strip('-')}.json"
    figures: Figures = {"card": card, "arch": found[0].arch, **_versions()}
    figures["ceilings"] = {"flops": ceilings.flops, "bytes": ceilings.bytes}
    figures["steps"] = _contest(options)
    _write(target, figures)
    figures["kernels"] = _kernels(plans, ceilings)
    _write(target, figures)
    print(f"figures {target}")


def _write(target: Path, figures: Figures) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=1) + "\n")


def _versions() -> Figures:
    packages = ("torch", "triton", "numpy", "cuda-bindings")
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "packages": {name: found[name] for name in packages if name in found},
    }


# ------------------------------------------------------------------------------- kernels


def _kernels(plans: Path, ceilings: Ceilings) -> Figures:
    found: Figures = {}
    for name in dict.fromkeys(OURS.values()):
        rows = gpu_kernels.measured(plans / name / "plan.json")
        print(f"\n{name}")
        for line in gpu_kernels.table(rows, ceilings):
            print(line)
        found[name] = [row.facts(ceilings) for row in rows]
    return found


# --------------------------------------------------------------------------------- steps


def _contest(options: argparse.Namespace) -> list[Figures]:
    """Rows of all contestants; of those that fail or take too long, why."""
    batch = read(Path(options.plans) / OURS[ONE] / "plan.json").programs["train"].batch
    running = [_contestant(name, options, batch) for name in (*OURS, *options.modes)]
    failed: list[Figures] = []
    begin = time.monotonic()
    for number in range(1 + options.rounds):
        end = begin + options.seconds * (WARM if number == 0 else 1)
        for each in list(running):
            try:
                seconds = each.turn(max(1.0, end - time.monotonic())) / STEPS
            except Error as error:
                each.stop()
                running.remove(each)
                failed.append({"name": each.name, "failed": str(error)})
                print(error)
            else:
                each.seconds += [seconds] * (number > 0)
    for each in running:
        each.leave()
    return [*_report(running, batch), *failed]


def _contestant(name: str, options: argparse.Namespace, batch: int) -> Contestant:
    command = [sys.executable, "-m", "benchmarks.gpu", "--plans", options.plans]
    return Contestant(name, [*command, "--worker", name, "--batch", str(batch)], {})


def _report(contestants: list[Contestant], batch: int) -> list[Figures]:
    ready = [each for each in contestants if each.seconds]
    ours = next((median(each.seconds) for each in ready if each.name == ONE), float("nan"))
    print(f"\n{'ms per step':30} {'median':>8} {'least':>8} {'images/s':>9} {'ratio':>6}")
    rows: list[Figures] = []
    for each in ready:
        middle, least = median(each.seconds), min(each.seconds)
        print(
            f"{each.name:30} {1e3 * middle:8.3f} {1e3 * least:8.3f} "
            f"{batch / middle:9.0f} {middle / ours:6.2f}"
        )
        rows.append({"name": each.name, "seconds": each.seconds, "images/s": batch / middle})
    return rows


def _work(options: argparse.Namespace) -> None:
    """Be a contestant: some steps at each turn."""
    if options.worker in OURS:
        step, wait = _our_step(options)
    else:
        step, wait = torch_gpu_step(options.worker, options.batch)

    def turn() -> None:
        for _ in range(STEPS):
            step()
        wait()

    serve(turn)


def _our_step(options: argparse.Namespace) -> tuple[Callable[[], None], Callable[[], object]]:
    """A step on random images, and what waits for the last one."""
    path = Path(options.plans) / OURS[options.worker] / "plan.json"
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
        for name, value in packed[count % 2 if options.worker == FED else 0].items():
            executor.feed("train", name, value)
        last = executor.run("train")
        count += 1

    return step, lambda: last and last()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=main.__doc__)
    add = parser.add_argument
    add("--plans", metavar="FOLDER", required=True, help="what tests.gpu.build made")
    add("--rounds", type=int, default=7, help="turns of each contestant (default 7)")
    add("--modes", nargs="*", choices=GPU_MODES, default=GPU_MODES, help="of PyTorch (default all)")
    add("--seconds", type=float, default=600, help="for all turns together (default 600)")
    add("--out", metavar="FOLDER", default=str(RESULTS), help="of the JSON (default results/)")
    add("--worker", help=argparse.SUPPRESS)
    add("--batch", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
