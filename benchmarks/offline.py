"""All that a machine with a GPU is to do, in one command: `python3 run.py --out FOLDER`.

`run.py` lies in the bundle that `benchmarks.bundle` packs, beside the packages and the plans. It
needs Python, PyTorch and NumPy, no network and no compiler: runs the tests on a GPU and the
benchmark, none longer than its share of the time, and ends with a table. FOLDER gets a log of each,
the benchmark's figures, and `report.json`. Exits with 5 unless all went well.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from benchmarks.stages import BENCHMARK, ROOT, SHARES, Report, fine, line, run_stage

FAILED = 5
GPU = "from runtime.cuda.driver import Driver; print(Driver().gpu(0))"


def main() -> None:
    """Run the tests and the benchmark of a bundle."""
    options = _options()
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    reports: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as site:
        env = _environment(Path(site))
        machine = _machine(env)
        for fact, value in machine.items():
            print(f"{fact:14} {value}", flush=True)
        end = time.monotonic() + 60 * options.minutes
        names = list(dict.fromkeys(options.stages or SHARES))
        for place, name in enumerate(names):
            shares = sum(SHARES[later] for later in names[place:])
            seconds = max((end - time.monotonic()) * SHARES[name] / shares, 1.0)
            print(f"{name}: {seconds:.0f} s at most", flush=True)
            reports[name] = run_stage(name, ROOT / "plans", out, env, seconds)
            _write(out / "report.json", {"machine": machine, **reports})
    if BENCHMARK in reports:
        print((out / f"{BENCHMARK}.log").read_text("utf-8", "replace"))
    for name, report in reports.items():
        print(f"{name:14} {line(report)}")
    sys.exit(0 if all(map(fine, reports.values())) else FAILED)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description=main.__doc__)
    add = parser.add_argument
    add("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(SHARES)} (default all)")
    add("--out", metavar="FOLDER", default="out", help="of logs and figures (default out)")
    add("--minutes", type=float, default=9.0, help="for all together (default 9)")
    options = parser.parse_args()
    for name in options.stages:
        if name not in SHARES:
            parser.error(f"unknown stage '{name}', expected some of {', '.join(SHARES)}")
    return options


# -------------------------------------------------------------------------- the machine


def _environment(site: Path) -> dict[str, str]:
    """With the bundle in the path, and of its wheels those that this Python lacks.

    Ends the program where it lacks one that is for another Python.
    """
    for wheel in sorted((ROOT / "wheels").glob("*.whl")):
        name, *_, python, abi, _ = wheel.stem.split("-")
        if _installed(name):
            continue
        if not _suits(python, abi):
            sys.exit(
                f"error: {name} is not installed, and {wheel.name} is not for this Python "
                f"{platform.python_version()}; pack the bundle with --python"
            )
        zipfile.ZipFile(wheel).extractall(site)
    path = [str(ROOT), str(site), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _suits(python: str, abi: str) -> bool:
    major, minor = sys.version_info[:2]
    if abi == "abi3":
        return int(python.removeprefix(f"cp{major}")) <= minor
    return python.startswith("py") or python == f"cp{major}{minor}"


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _machine(env: dict[str, str]) -> dict[str, str]:
    """What the figures depend on, and why nothing will work where that is so."""
    query = ("--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader")
    return {
        "python": platform.python_version(),
        "numpy": _said(sys.executable, "-c", "import numpy as n; print(n.__version__)", env=env),
        "torch": _said(sys.executable, "-c", "import torch as t; print(t.__version__)", env=env),
        "runtime": _said(sys.executable, "-c", GPU, env=env),
        "card": _said("nvidia-smi", *query, env=env),
        "toolkit": _said("nvcc", "--version", env=env),
        "sanitizer": shutil.which("compute-sanitizer") or "none",
    }


def _said(*command: str, env: dict[str, str]) -> str:
    """The last line that a command says."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"none ({error})"
    return ((done.stdout + done.stderr).strip().splitlines() or ["nothing"])[-1]
