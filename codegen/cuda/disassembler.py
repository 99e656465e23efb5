"""What machine code consists of, by nvdisasm: of the extra `cuda`, or of a toolkit."""

import os
import re
import shutil
import subprocess
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from ir.command import Error

_FUNCTION = re.compile(r"\.text\.(?P<name>\w+):")
_INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?(?P<opcode>[A-Z][\w.]*)")


def available() -> bool:
    """Whether there is a disassembler."""
    return _program() is not None


def opcodes(cubin: bytes) -> dict[str, Counter[str]]:
    """How often each instruction stands in each function, such as HMMA.16816.F32.BF16.

    Raises Error without a disassembler, and for what is no machine code.
    """
    found: dict[str, Counter[str]] = {}
    name = ""
    for line in listing(cubin).splitlines():
        if function := _FUNCTION.match(line):
            name = function["name"]
            found[name] = Counter()
        elif instruction := _INSTRUCTION.match(line):
            found[name][instruction["opcode"]] += 1
    return found


def listing(cubin: bytes) -> str:
    """The text of all functions. Raises Error as `opcodes` does."""
    program = _program()
    if program is None:
        raise Error("no nvdisasm; expected the extra 'cuda' (make cuda), or a CUDA toolkit")
    with TemporaryDirectory(prefix="tandem") as folder:
        file = Path(folder) / "kernels.cubin"
        file.write_bytes(cubin)
        command = [program, "--print-code", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Error(f"{program} cannot read this machine code: {done.stderr.strip()}")
    return done.stdout


def _program() -> str | None:
    spec = find_spec("nvidia")
    packages = list(spec.submodule_search_locations or ()) if spec else []
    folders = [str(Path(package) / "cu13" / "bin") for package in packages]
    return shutil.which("nvdisasm", path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
