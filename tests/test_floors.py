"""The floors: who may import whom, and which names may appear where."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What each floor may import beside itself and the standard library. A name allows all below it.
FLOORS = {
    "ir": {"numpy"},
    "frontend": {"ir", "numpy"},
    "passes": {"ir", "networkx", "numpy", "rich"},
    "codegen": {"ir", "passes", "msgspec", "networkx", "numpy", "rich", "tvm"},
    "runtime": {
        "ir.command",
        "ir.optional",
        "ir.plan",
        "PIL",
        "cuda",
        "msgspec",
        "numpy",
        "rich",
        "tvm_ffi",
    },
}
# What a file or a folder may import beside: plans are typed JSON, `validate` compares with the
# oracle what the runtime's loader runs, and kernels are timed in the memory that it gives them.
ALSO = {
    "codegen/replay.py": {"runtime"},
    "codegen/validate.py": {"runtime"},
    "codegen/cuda/emulated.py": {"runtime"},
    "codegen/cost/": {"tvm_ffi"},
    "codegen/devices.py": {"runtime"},
    "codegen/tuning/cuda/": {"runtime"},
    "codegen/tuning/timing.py": {"runtime"},
    "ir/plan/": {"msgspec"},
}
ABOVE = {"tests", "benchmarks", "experiments"}  # may import everything
MADE = {"run"}  # what commands write, copies of the packages among it

MAY_NAME_MODELS = ABOVE | {"frontend"}
MODEL_NAME = re.compile(
    r"alexnet|cifar|oneweirdtrick|vgg"
    # conv1 and fc6_w are layers, conv2d is an op.
    r"|(?<![a-z])(conv|dense|fc|lrn|norm|pool|relu)\d+(?![\dd])",
    re.IGNORECASE,
)
DRAWERS = {"helper", "helpers", "manager", "managers", "util", "utils"}


def violations(path: Path, source: str) -> Iterator[str]:
    """What a file does against the laws; its path is relative to the root."""
    tree = ast.parse(source)
    floor = path.parts[0].removesuffix(".py")
    if floor in sys.stdlib_module_names:
        yield f"{path}: shadows {floor} of the standard library"
    if path.stem in DRAWERS:
        yield f"{path}: the name says nothing about what is inside"
    if floor in FLOORS:
        also = (names for place, names in ALSO.items() if str(path).startswith(place))
        allowed = (FLOORS[floor] | sys.stdlib_module_names | {floor}).union(*also)
        for line, name in imports(path, tree):
            if not any(f"{name}.".startswith(f"{root}.") for root in allowed):
                yield f"{path}:{line}: {floor} may not import {name}"
    elif floor not in ABOVE:
        yield f"{path}: belongs to no floor"
    if floor not in MAY_NAME_MODELS:
        for line, word in [(1, path.stem), *words(tree)]:
            if found := MODEL_NAME.search(word):
                yield f"{path}:{line}: names a model or a layer of one: {found[0]}"


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every import as an absolute dotted name; `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                package = path.parts[: len(path.parts) - level] if level else ()
                base = [*package, module] if module else package
                yield from ((node.lineno, ".".join([*base, alias.name])) for alias in names)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name("import_module" | "__import__"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield node.lineno, name


def words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every identifier and every string, but for strings that stand alone: these document."""
    documentation = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node not in documentation:
            values = (value for _, value in ast.iter_fields(node) if isinstance(value, str))
            yield from ((getattr(node, "lineno", 1), value) for value in values)


def test_every_file_keeps_the_laws() -> None:
    paths = sorted([*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")])
    assert Path(__file__) in paths
    broken = [
        message
        for path in paths
        if path.relative_to(ROOT).parts[0] not in MADE
        for message in violations(path.relative_to(ROOT), path.read_text("utf-8"))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("ir/text.py", "import networkx", "ir may not import networkx"),
        ("ir/text.py", "from importlib import import_module\nimport_module('tvm')", "2: ir may"),
        ("ir/ops/conv.py", "from ...passes import split", "import passes.split"),
        ("frontend/dsl.py", "def late():\n    from passes import split", "2: frontend may not"),
        ("passes/place.py", "import ir.graph, frontend.dsl", "import frontend.dsl"),
        ("passes/fuse.py", "import tvm_ffi", "passes may not import tvm_ffi"),
        ("codegen/emit.py", "from tvm_ffi import Module", "codegen may not import tvm_ffi"),
        ("codegen/emit.py", "from runtime.cpu.library import load", "import runtime.cpu"),
        ("runtime/train.py", "from ir import graph", "runtime may not import ir.graph"),
        ("runtime/train.py", "import tvm", "runtime may not import tvm"),
        ("random/draw.py", "", "shadows random"),
        ("scripts/run.py", "", "belongs to no floor"),
        ("passes/utils.py", "", "says nothing"),
        ("codegen/alexnet.py", "", "names a model or a layer of one: alexnet"),
        ("codegen/emit.py", "def tune_VGG(): pass", "of one: VGG"),
        ("codegen/emit.py", "big = name == f'fc6_{kind}'", "of one: fc6"),
        ("passes/split.py", "split(conv12=1)", "of one: conv12"),
    ],
)
def test_a_breach_is_reported(path: str, source: str, complaint: str) -> None:
    assert complaint in "\n".join(violations(Path(path), source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ir/ops/conv.py", "from .. import graph\nfrom ir.type import Type\nimport os.path"),
        ("ir/ops/conv.py", '"""As conv1 of AlexNet."""\nconv2d = "conv2d_dx"'),
        ("ir/ops/random.py", "import numpy.typing as npt"),
        ("frontend/vgg.py", "conv1 = 'conv1'"),
        ("codegen/validate.py", "from runtime.cpu.library import load"),
        ("runtime/train.py", "import ir.plan\nfrom ir.plan import Plan\nfrom ir import plan"),
        ("benchmarks/alexnet.py", "import tvm, torch, runtime.train"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert not list(violations(Path(path), source))
