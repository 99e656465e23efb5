"""The mode in which tests build for CPUs: the default, or what `pytest --exact` asks for."""

WAYS = {False: "fast", True: "none"}
"""Minimal filtering by whether it is left out."""

_exact = [False]


def choose(exact: bool) -> None:
    """Set the mode, before any test is collected."""
    _exact[0] = exact


def winograd() -> str:
    """What targets are told."""
    return WAYS[_exact[0]]


def options() -> tuple[str, ...]:
    """What the command line of a build is told."""
    return ("--exact",) if _exact[0] else ()
