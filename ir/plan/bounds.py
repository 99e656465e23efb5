"""What all laws share: complaints, and the one about a number."""

from collections.abc import Iterator

Complaints = Iterator[str]
"""Each is "JSON path: what, what was expected"."""
MOST_BYTES = 2**46  # what one process can address


def at_least(path: str, value: float, least: int, most: int | None = None) -> Complaints:
    """Complain of a number outside [least, most]."""
    if value < least:
        yield f"{path}: got {value}, expected at least {least}"
    elif most is not None and value > most:
        yield f"{path}: got {value}, expected at most {most}"


def named(path: str, symbol: str) -> Complaints:
    """Complain of a function without a name."""
    if not symbol:
        yield f"{path}: empty, expected the name of a function"
