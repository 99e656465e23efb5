"""What all benchmarks share: the machine's description, tables to read, and JSON to keep."""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "apache-tvm", "torch", "jax", "tinygrad")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

Facts = dict[str, object]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, aligned for those who read it as text: names left, numbers right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        for line in (header, rule, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(name: str, machine: Facts, **figures: object) -> None:
    """Write figures to results/NAME.json, with the machine as `machine` described it before."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    facts = {"machine": {**machine, "load_after": _load()}, **figures}
    path.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"written to {path}", file=sys.stderr)


# ---------------------------------------------------------------------------- the machine


def machine() -> Facts:
    """What figures depend on; call it before measuring, as it says how busy the machine is."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "llvm": _llvm(),
        "cores": len(os.sched_getaffinity(0)),
        "caches": dict(_caches()),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **dict(_versions())},
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "load_before": _load(),
    }


def caches() -> dict[int, int]:
    """Bytes of the data caches of the first core by their level; empty where nobody tells."""
    found = {}
    for folder in CACHES.glob("index*"):
        if (folder / "type").read_text().strip() != "Instruction":
            size = (folder / "size").read_text().strip()
            found[int((folder / "level").read_text())] = 1024 * int(size.removesuffix("K"))
    return dict(sorted(found.items()))


def _caches() -> Iterator[tuple[str, str]]:
    for level, size in caches().items():
        yield f"L{level}", f"{size // 1024} KB"


def _field(path: str, name: str) -> str:
    """The first value of a name in one of the kernel's lists; empty where there is none."""
    try:
        found = re.search(rf"^{name}\s*:\s*(.*)$", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _llvm() -> str:
    """LLVM's name of this processor, which kernels are compiled for."""
    # It imports the compiler, which takes a second.
    from codegen.targets import cpu

    return cpu().mcpu


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _load() -> float:
    """Processes that wanted to run, a mean of the last minute."""
    return round(os.getloadavg()[0], 2)
