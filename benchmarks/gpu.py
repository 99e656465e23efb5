"""AlexNet on a GPU, ours beside PyTorch's: `python -m benchmarks.gpu --plans FOLDER`.

Measures what the card can do at most, whole steps in each precision (`gpu_steps`), and every kernel
alone (`gpu_kernels`). FOLDER is what `tests.gpu.build` made. Prints tables, and writes all figures
as JSON named after the card, and its ceilings as the record that builds for its architecture read
(`codegen/tuning/records.py`).
"""

import argparse
import importlib.metadata
import json
import platform
import re
from pathlib import Path

from benchmarks import gpu_kernels, gpu_steps
from benchmarks.gpu_steps import BATCHES, PRECISIONS, Contest, Figures
from benchmarks.peers import GPU_MODES
from codegen.tuning import records
from codegen.tuning.cuda import ceiling_kernels, ceilings
from codegen.tuning.cuda.ceilings import Ceilings
from codegen.tuning.records import Records
from ir.command import Error, run
from runtime.cuda.driver import gpus

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure a GPU: its limits, our steps and PyTorch's, our kernels."""
    options = _options()
    found = gpus()
    if not found:
        raise Error("no GPU can be used here; expected one, its driver, and the extra cuda")
    plans, card = Path(options.plans), found[0].name
    contests = gpu_steps.contests(plans, options.precision, options.batch)
    limits = ceilings.measured(plans / ceiling_kernels.PLAN / "plan.json")
    print(f"{card}: {_shown(limits)}", flush=True)
    record = records.file_of(Path(options.out), found[0].arch)
    records.keep(record, Records(limits.speeds(found[0])))
    target = Path(options.out) / f"{re.sub('[^a-z0-9]+', '-', card.lower()).strip('-')}.json"
    figures: Figures = {"card": card, "arch": found[0].arch, **_versions()}
    figures["ceilings"] = {**vars(limits), "flops": dict(limits.flops)}
    figures["steps"] = steps = list[Figures]()
    for rows in gpu_steps.held(contests, plans, limits, options):
        steps += rows
        _write(target, figures)
    figures["kernels"] = kernels = Figures()
    for name in _names(contests, plans):
        kernels[name] = _kernels(name, plans, limits)
        _write(target, figures)
    print(f"figures {target}")
    print(f"record  {record}")


def _shown(ceilings: Ceilings) -> str:
    rates = [f"{rate / 1e12:.1f} TFLOP/s in {form}" for form, rate in ceilings.flops.items()]
    launch = f"{1e6 * ceilings.launch:.2f} us for a launch"
    return ", ".join((*rates, f"{ceilings.bytes / 1e9:.0f} GB/s", launch))


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


def _names(contests: list[Contest], plans: Path) -> list[str]:
    """The plans of all contests, those of one device first."""
    names = dict.fromkeys(name for contest in contests for name in contest.ours(plans).values())
    return sorted(names, key=lambda name: "two" in name)


def _kernels(name: str, plans: Path, ceilings: Ceilings) -> list[Figures]:
    rows = gpu_kernels.measured(plans / name / "plan.json")
    print(f"\n{name}")
    for line in gpu_kernels.table(rows, ceilings):
        print(line, flush=True)
    return [row.facts(ceilings) for row in rows]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=main.__doc__)
    add = parser.add_argument
    add("--plans", metavar="FOLDER", required=True, help="what tests.gpu.build made")
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="(default all)")
    add("--batch", nargs="+", type=int, choices=BATCHES, default=BATCHES, help="(default all)")
    add("--rounds", type=int, default=7, help="turns of each contestant (default 7)")
    add("--modes", nargs="*", choices=GPU_MODES, default=GPU_MODES, help="of PyTorch (default all)")
    add("--seconds", type=float, default=600, help="for all turns together (default 600)")
    add("--out", metavar="FOLDER", default=str(RESULTS), help="of the JSON (default results/)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
