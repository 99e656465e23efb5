"""Our own commands, run as a user types them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ir.command import Error


def python(*words: str, given: str | None = None) -> str:
    """What `python -m WORDS` says. Raises Error when it fails."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Error(f"python -m {' '.join(words)} failed; its message stands above")
    return done.stdout


def build(model: Sequence[str], plan: Path, *options: str) -> Path:
    """Compile a model, told as `frontend` commands are. Raises Error."""
    text = python(*model)
    print(python("codegen.build", "-o", str(plan), *options, given=text), file=sys.stderr)
    return plan
