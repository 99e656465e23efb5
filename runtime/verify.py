"""The files of a plan are the ones that it names."""

import hashlib
from pathlib import Path

from ir.command import Error


def verified(path: Path, sha256: str) -> Path:
    """The path of a file that has this hash. Raises Error for any other."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
    if found != sha256:
        raise Error(f"{path}: has sha256 {found}, expected {sha256} as in the plan")
    return path
