"""The stages of an offline run, tests on a GPU and the benchmark, each a process of its own."""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
GRACE = 40.0
"""Seconds that the last test may go on after its time."""
MESSAGE = 2000
SHOWN = 10

PYTEST = ("-m", "pytest", "-m", "gpu", "-v", "-W", "default", "-p", "no:cacheprovider")
TESTS = {
    "kernels": ("tests/gpu/test_oracle.py", "tests/gpu/test_kernels.py"),
    "plans": ("tests/gpu/test_plans.py",),
    "peer": ("tests/gpu/test_peer.py",),
    "commands": ("tests/gpu/test_commands.py",),
}
BENCHMARK = "benchmark"
SHARES = {"kernels": 3.0, "peer": 1.5, BENCHMARK: 5.0, "plans": 1.5, "commands": 1.0}
"""Of the time, the most important first; what one leaves goes to those after it."""
TURNS = 0.7
"""Of the benchmark's time; the rest is for its kernels one by one."""

Report = dict[str, object]


def run_stage(name: str, plans: Path, out: Path, env: dict[str, str], seconds: float) -> Report:
    """Run a stage, its output in a log; how it ended, and what pytest counted."""
    start, results = time.monotonic(), out / f"{name}.xml"
    command = [sys.executable, *_arguments(name, plans, out, results, seconds)]
    with (out / f"{name}.log").open("w") as log:
        code = _run(command, env, seconds + GRACE, log.fileno())
    report: Report = {"exit": code, "seconds": round(time.monotonic() - start, 1)}
    if results.exists():
        report |= _counted(results)
        results.unlink()
    return report


def fine(report: Report) -> bool:
    """Whether nothing went wrong."""
    return report["exit"] == 0


def line(report: Report) -> str:
    """A row of the table at the end."""
    passed, failed, skipped = (report.get(what) for what in ("passed", "failed", "skipped"))
    if not isinstance(failed, dict) or not isinstance(skipped, dict):
        ended = "done" if fine(report) else f"FAILED: exit {report['exit']}"
        return f"{ended}; {report['seconds']} s"
    parts = [f"{passed} passed", f"{len(failed)} failed"]
    parts += [f"{count} skipped: {reason}" for reason, count in skipped.items()]
    faults = [f"\n{'':15}FAILED {name}" for name in list(failed)[:SHOWN]]
    return f"{', '.join(parts)}; exit {report['exit']}; {report['seconds']} s{''.join(faults)}"


def _arguments(name: str, plans: Path, out: Path, results: Path, seconds: float) -> list[str]:
    where = ["--plans", str(plans)]
    if name == BENCHMARK:
        limit = ["--seconds", f"{TURNS * seconds:.0f}", "--out", str(out)]
        return ["-m", "benchmarks.gpu", *where, *limit]
    limit = ["--seconds", f"{seconds:.0f}", f"--junitxml={results}"]
    return [*PYTEST, *where, *limit, *TESTS[name]]


def _run(command: list[str], env: dict[str, str], seconds: float, log: int) -> int | str:
    """The exit code, or what happened instead. All that it started ends with it."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"none within {seconds:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _counted(results: Path) -> Report:
    """What pytest's report says."""
    passed = 0
    failed: dict[str, str] = {}
    skipped: dict[str, int] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        faults = [*case.iter("failure"), *case.iter("error")]
        reasons = [str(skip.get("message")) for skip in case.iter("skipped")]
        for fault in faults:
            failed[str(case.get("name"))] = (fault.text or "")[-MESSAGE:]
        for reason in reasons:
            reason = re.sub(r"^Skipped: ", "", reason)
            skipped[reason] = skipped.get(reason, 0) + 1
        passed += not faults and not reasons
    return {"passed": passed, "failed": failed, "skipped": skipped}
