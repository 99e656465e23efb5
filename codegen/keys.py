"""The name of a kernel: its ops, and a digest of all that decides its code."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ir.graph import Graph
from ir.printer import print_graph

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target

ROOT = Path(__file__).parent.parent
SOURCES = (
    "codegen/compile.py",
    "codegen/cost",
    "codegen/cpu.py",
    "codegen/cuda",
    "codegen/kernels",
    "codegen/layout.py",
    "codegen/loops.py",
    "codegen/region.py",
    "codegen/targets.py",
    "ir/op.py",
    "ir/ops",
)
"""What decides the code of a kernel beside its region."""
SUFFIXES = (".py", ".h")
MOST_OPS = 64


def key_of(region: Graph, target: "Target") -> str:
    """Such as `conv-bias_add-relu-` and 24 hexadecimal digits."""
    decides = [print_graph(region), target.kind, asdict(target.tuned(region)), versions()]
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    ops = "-".join(node.op for node in region.nodes if node.inputs)
    return f"{ops[:MOST_OPS]}-{digest[:24]}"


@cache
def versions() -> dict[str, str]:
    """The versions that a compiled kernel depends on; `kernels` is a digest of their sources."""
    digest = hashlib.sha256()
    for file in _sources():
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return {
        "kernels": digest.hexdigest()[:16],
        "tvm": version("apache-tvm"),
        "tvm_ffi": version("apache-tvm-ffi"),
    }


def _sources() -> Iterator[Path]:
    for source in SOURCES:
        path = ROOT / source
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        else:
            yield path
