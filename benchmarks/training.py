"""Whether minimal filtering changes how a network learns: `python -m benchmarks.training`.

AlexNet, narrowed to end in minutes, learns scikit-learn's digits, exactly and by default, from the
same seeds. It begins with the weights of cuda-convnet's code, as so narrow a net would not leave
the paper's small ones within these steps. The two final losses of a seed may differ by no more than
those of the seeds do among each other. Where gradients differ by more than rounding, units are to
blame that round to the other side: one step of both plans from one state is taken apart, and
counted for every ReLU are the units that one plan passes and the other does not, for every pool the
windows with other maxima, and with more or fewer of them. `alike` shows what remains where both
plans let the same through. Writes both tables as JSON, too.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from benchmarks.commands import build, python
from benchmarks.flips import compared
from benchmarks.report import Facts, machine, table, write
from ir.command import run
from runtime.log import read

WAYS = {"exact": ["--exact"], "default": []}
LAST = 20
"""Steps at the end whose mean loss is the final one."""
FINAL = ("loss", "validation_loss")


def main() -> None:
    """Train from several seeds in both ways, and count units that flip; print both tables."""
    options = _options()
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        plans = {way: _built(options, place / way, words) for way, words in WAYS.items()}
        rows = [_trained(options, plans, seed) for seed in range(options.seeds)]
        verdicts = {name: verdict(rows, name) for name in FINAL} if len(rows) > 1 else {}
        _print_losses(rows, verdicts)
        state = plans["exact"].with_name("seed-0") / "last.safetensors"
        flips, gradients = compared(plans["exact"], plans["default"], state, options.data)
        _print_flips(flips, gradients)
    asked = {key: str(value) for key, value in vars(options).items()}
    figures = {"rows": rows, "verdicts": verdicts, "flips": flips, "gradients": gradients}
    write("training", about, options=asked, **figures)


# ---------------------------------------------------------------------------- runs


def _built(options: argparse.Namespace, place: Path, words: Sequence[str]) -> Path:
    """A plan in a folder of its own."""
    sizes = {"width": options.width, "image": options.image, "batch": options.batch}
    model = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    model = ["frontend.alexnet", "--preset", "code145", "--classes", "10", *model]
    return build(model, place / "plan.json", "--devices", "cpu:0", *words)


def _trained(options: argparse.Namespace, plans: dict[str, Path], seed: int) -> Facts:
    """The final losses of one seed in both ways."""
    row: Facts = {"seed": seed}
    for way, plan in plans.items():
        out = plan.with_name(f"seed-{seed}")
        words = ["--steps", str(options.steps), "--seed", str(seed), "--out", str(out)]
        words += ["--lr", str(options.lr)]
        python("runtime.train", str(plan), "--data", options.data, *words)
        records = read(out / "log.jsonl")
        losses = [record["loss"] for record in records if "loss" in record]
        tested = [r["validation_loss"] for r in records if "validation_loss" in r]
        row[way] = {"loss": mean(losses[-LAST:]), "validation_loss": tested[-1]}
        print(f"seed {seed}, {way}: {row[way]}", file=sys.stderr)
    return row


# ---------------------------------------------------------------------------- results


def verdict(rows: Sequence[Facts], name: str) -> Facts:
    """How far the ways are apart, beside how far seeds are; whether less than they.

    The mean difference has an error of its own, as each seed is another run: `error_of_mean`.
    """
    exact, default = ([_loss(row, way, name) for row in rows] for way in WAYS)
    apart = [b - a for a, b in zip(exact, default, strict=True)]
    spread = stdev(exact)
    return {
        "mean_difference": mean(apart),
        "error_of_mean": stdev(apart) / sqrt(len(apart)),
        "largest_difference": max(map(abs, apart)),
        "spread_of_seeds": spread,
        "within": abs(mean(default) - mean(exact)) <= spread,
    }


def _loss(row: Facts, way: str, name: str) -> float:
    found = row[way]
    assert isinstance(found, dict)
    return float(found[name])


def _print_losses(rows: Sequence[Facts], verdicts: dict[str, Facts]) -> None:
    header = ["seed", *(f"{name}, {way}" for name in FINAL for way in WAYS)]
    cells = [
        [str(row["seed"]), *(f"{_loss(row, way, name):.5f}" for name in FINAL for way in WAYS)]
        for row in rows
    ]
    print(table(header, cells))
    for name, found in verdicts.items():
        print(
            f"{name}: {found['mean_difference']:+.1e} apart in the mean, "
            f"with a standard error of {found['error_of_mean']:.1e}, "
            f"{found['largest_difference']:.1e} at most; "
            f"seeds spread by {found['spread_of_seeds']:.1e}: "
            f"{'within' if found['within'] else 'NOT within'}"
        )


def _print_flips(flips: Sequence[Facts], gradients: Sequence[Facts]) -> None:
    counts, apart = ("units", "flipped", "ties"), ("largest", "rms", "alike")
    lines = [[str(each["of"]), *(f"{each[key]:,}" for key in counts)] for each in flips]
    print("\n" + table(["masks in the backward pass", "units", "flipped", "broken ties"], lines))
    lines = [[str(each["name"]), *(f"{each[key]:.1e}" for key in apart)] for each in gradients]
    header = ["change of", "largest difference", "rms", "largest where masks are alike"]
    print("\n" + table(header, lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=main.__doc__)
    add = parser.add_argument
    add("--steps", type=int, default=300, help="of each run (default 300)")
    add("--seeds", type=int, default=5, help="runs of each way (default 5)")
    add("--width", type=float, default=0.25, help="of the net (default 0.25)")
    add("--image", type=int, default=128, help="side of the crops (default 128)")
    add("--batch", type=int, default=32, help="images per step (default 32)")
    add("--lr", type=float, default=0.01, help="rate of weights (default 0.01)")
    add("--data", default="digits", help="digits (default), photos or a store")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
