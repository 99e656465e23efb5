"""Pack all that a GPU machine without network is to run: `python -m benchmarks.bundle FOLDER`.

The folder then holds the plans with their binaries, the packages that run and test them, wheels of
what such a machine may lack, and `run.py`. There `python3 run.py --out OUT` does everything; it
needs Python, PyTorch and NumPy, and neither TVM nor a compiler. No GPU is needed to pack.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ir.command import Error, run

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmarks", "codegen", "frontend", "ir", "passes", "runtime", "tests")
START = """\
from benchmarks.offline import main

main()
"""

LOCKS = ("requirements.lock", "requirements-cuda.lock")
CARRIED = {
    *("cuda-bindings", "cuda-pathfinder", "hypothesis", "iniconfig", "markdown-it-py", "mdurl"),
    *("msgspec", "packaging", "pillow", "pluggy", "pygments", "pytest", "rich", "sortedcontainers"),
}
"""What is used where there is no compiler, beside what comes with PyTorch."""
GLIBC = (5, 12, 17, 24, 27, 28, 31, 34)
"""pip takes wheels for exactly the versions 2.N that it is told."""


def main() -> None:
    """Pack plans, packages and wheels into a folder, and print its size."""
    options = _options()
    folder = Path(options.folder)
    _require_ours(folder)
    _pack_plans(folder / "plans", options.arch)
    _pack_packages(folder)
    _pack_wheels(folder / "wheels", options.python)
    (folder / "run.py").write_text(START)
    for part in ("plans", "wheels"):
        print(f"{part:14} {_megabytes(folder / part):6.1f} MB")
    print(f"{folder!s:14} {_megabytes(folder):6.1f} MB")


def _require_ours(folder: Path) -> None:
    """Raise Error for a folder that holds something else."""
    if folder.exists() and not (folder / "run.py").exists() and any(folder.iterdir()):
        raise Error(f"{folder}: is no bundle, expected a new folder or one to be replaced")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.py").touch()


def _pack_plans(target: Path, arch: str) -> None:
    if target.exists():
        shutil.rmtree(target)
    _run("tests.gpu.build", str(target), "--arch", arch)
    for text in target.rglob("*.cu"):
        # A third of all, and for people and compilers only.
        text.unlink()


def _pack_packages(folder: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in PACKAGES:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        for pattern in ("*.py", "*.h", "*.toml"):
            for path in (ROOT / name).rglob(pattern):
                copy = folder / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)


def _pack_wheels(target: Path, python: str) -> None:
    if target.exists():
        shutil.rmtree(target)
    platforms = [f"--platform=manylinux_2_{number}_x86_64" for number in GLIBC]
    old = ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    with tempfile.TemporaryDirectory() as place:
        wanted = Path(place) / "wheels.lock"
        wanted.write_text("".join(_locked()))
        options = ["-qq", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        machine = ["--implementation=cp", f"--python-version={python}", *platforms, *old]
        _run("pip", "download", *options, *machine, f"--dest={target}", f"--requirement={wanted}")


def _locked() -> Iterator[str]:
    """The entries of the locks for what is carried, with their hashes."""
    for lock in LOCKS:
        for entry in re.split(r"^(?=\S)", (ROOT / lock).read_text(), flags=re.MULTILINE):
            if entry.partition("==")[0] in CARRIED:
                yield entry


def _run(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=False)
    if done.returncode:
        raise Error(f"python -m {module} failed; its message stands above")


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundle", description=main.__doc__)
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="where the bundle goes")
    add("--arch", metavar="NAMES", default="sm_90a", help="of that machine's GPU (default sm_90a)")
    add("--python", metavar="VERSION", default="3.12", help="of that machine (default 3.12)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
