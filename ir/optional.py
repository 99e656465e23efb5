"""Packages that only some commands need: imported when used, and named when they are missing."""

from importlib import import_module
from typing import Any

from ir.command import Error


def optional(module: str, extra: str) -> Any:
    """A module of an optional package. Raises Error saying which extra installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        cure = f"install it: pip install 'tandem[{extra}]'"
        raise Error(f"{module} is missing: {error}; {cure}") from error
