"""The compiler of a CUDA toolkit. It needs a host's C++ compiler even for device code."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from codegen.cuda.compiler import Compiler, architectures, options, refusal
from ir.command import Error

_HOMES = ("CUDA_HOME", "CUDA_PATH")
_OWN_OPTIONS = ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")


@dataclass(frozen=True)
class Nvcc(Compiler):
    """nvcc at a path."""

    program: str

    def translate(self, source: str, arch: str) -> tuple[bytes, str]:
        with TemporaryDirectory(prefix="tandem") as folder:
            Path(folder, "kernel.cu").write_text(source)
            command = ["--cubin", *options(arch), "kernel.cu", "--output-file", "kernel.cubin"]
            done = _run(self.program, *command, cwd=folder)
            if done.returncode:
                raise refusal(self.name, arch, done.stderr + done.stdout)
            return Path(folder, "kernel.cubin").read_bytes(), done.stderr


def find() -> Nvcc:
    """nvcc of $CUDA_HOME, of $CUDA_PATH, or on the PATH.

    Raises Error where there is none, or it cannot compile an empty source.
    """
    program = _program()
    version = re.search(r"V(\d+\.\d+\.\d+)", _run(program, "--version").stdout)
    generations = re.findall(r"sm_(\d+)\b", _run(program, "--list-gpu-code").stdout)
    if not version or not generations:
        raise Error(f"{program} does not say its version and architectures, expected nvcc")
    known = architectures({int(generation) for generation in generations})
    found = Nvcc(f"nvcc {version[1]}", known, program)
    found.translate("", found.arches[0])
    return found


def _program() -> str:
    homes = [os.environ[name] for name in _HOMES if os.environ.get(name)]
    folders = [*(os.path.join(home, "bin") for home in homes), os.environ.get("PATH", os.defpath)]
    program = shutil.which("nvcc", path=os.pathsep.join(folders))
    if program is None:
        raise Error(f"not on the PATH nor in {' or '.join(_HOMES)}; install a CUDA toolkit")
    return program


def _run(program: str, *arguments: str, cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    # Options of the user's own could trade away accuracy.
    env = {name: value for name, value in os.environ.items() if name not in _OWN_OPTIONS}
    command = [program, *arguments]
    try:
        return subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise Error(f"{program} cannot be run: {error.strerror}") from error
