"""Say in words how two plans differ: `python -m codegen.plandiff OLD NEW`.

Exits with 0 when they are equal, 1 when they differ, 2 when one cannot be read. Steps are known
by what they write, so a step that moved in the order is told from one that is new.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import msgspec

from ir.command import run
from ir.plan import Plan, Program, Record, Run, read

DIFFER = 1
MOST_LINES = 12
"""Lines of one kind before the rest is only counted."""

UNNAMED = ("", "tensor", "code")
"""Of nested objects, those whose fields are known without their name."""

Items = Mapping[str, Record]


def differences(old: Plan, new: Plan) -> Iterator[str]:
    """A line for every difference; none exactly when the plans are equal."""
    apart = ("devices", "kernels", "states", "programs")
    yield from (f"plan: {change}" for change in _changes(old, new, apart))
    yield from _items("device", _devices(old), _devices(new))
    yield from _items("state", _states(old), _states(new))
    yield from _items("kernel", old.kernels, new.kernels)
    for name in dict.fromkeys((*old.programs, *new.programs)):
        if name not in new.programs:
            yield f"program {name}: removed"
        elif name not in old.programs:
            yield f"program {name}: added"
        else:
            yield from _program(name, old.programs[name], new.programs[name])


def _program(name: str, old: Program, new: Program) -> Iterator[str]:
    parts = ("feeds", "fills", "steps", "outputs")
    yield from (f"{name}: {change}" for change in _changes(old, new, parts))
    for part in ("feeds", "fills", "outputs"):
        mine, other = (_named(getattr(each, part)) for each in (old, new))
        yield from _items(f"{name}: {part.removesuffix('s')}", mine, other)
        yield from _order(f"{name}: {part}", list(mine), list(other))
    mine, other = _steps(old), _steps(new)
    yield from _items(f"{name}: step", mine, other, ignore=("index",))
    yield from _order(f"{name}: steps", list(mine), list(other))


# ---------------------------------------------------------------------------- what is compared


def _devices(plan: Plan) -> Items:
    return {f"dev{number}": device for number, device in enumerate(plan.devices)}


def _states(plan: Plan) -> Items:
    return {state.tensor.name: state for state in plan.states}


def _named(records: Sequence[Any]) -> Items:
    return {getattr(record, "tensor", record).name: record for record in records}


def _steps(program: Program) -> Items:
    return {
        f"{', '.join(step.writes)} on dev{step.device}"
        if isinstance(step, Run)
        else f"transfer {step.value} to dev{step.target}": step
        for step in program.steps
    }


# ---------------------------------------------------------------------------- comparing


def _items(kind: str, old: Items, new: Items, ignore: Sequence[str] = ()) -> Iterator[str]:
    yield from _some(f"{kind} {name}: removed" for name in old if name not in new)
    yield from _some(f"{kind} {name}: added" for name in new if name not in old)
    both = (
        (name, ", ".join(_changes(old[name], new[name], ignore))) for name in old if name in new
    )
    yield from _some(f"{kind} {name}: {change}" for name, change in both if change)


def _some(lines: Iterator[str]) -> Iterator[str]:
    """The first lines, and how many there are beside them."""
    found = list(lines)
    yield from found[:MOST_LINES]
    if len(found) > MOST_LINES:
        yield f"... and {len(found) - MOST_LINES} more like the last"


def _changes(old: Record, new: Record, ignore: Sequence[str] = ()) -> Iterator[str]:
    before, after = _flat(old, ignore), _flat(new, ignore)
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field):
            yield f"{field} {_words(before.get(field))}, now {_words(after.get(field))}"


def _flat(record: Record, ignore: Sequence[str]) -> dict[str, Any]:
    """The fields, those of nested objects under dotted names, those in lists with their places."""
    flat: dict[str, Any] = {}

    def visit(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{name}.{key}" if name not in UNNAMED else key, inner)
        elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                visit(f"{name}[{number}]", item)
        else:
            flat[name] = value

    visit("", {k: v for k, v in msgspec.to_builtins(record).items() if k not in ignore})
    return flat


def _words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_words, value))}]"
    return f"{value:,}" if isinstance(value, int) else "nothing" if value is None else str(value)


def _order(what: str, old: list[str], new: list[str]) -> Iterator[str]:
    """Which of the names in both lists have another place among these."""
    both = set(old) & set(new)
    before, after = ([name for name in names if name in both] for names in (old, new))
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    stay = {
        before[block.a + i] for block in matcher.get_matching_blocks() for i in range(block.size)
    }
    for name in (name for name in after if name not in stay):
        where = after.index(name)
        yield f"{what}: {name} now {f'after {after[where - 1]}' if where else 'first'}"


# ---------------------------------------------------------------------------- command


def main() -> None:
    """Say how two plans differ."""
    parser = argparse.ArgumentParser(prog="python -m codegen.plandiff", description=main.__doc__)
    parser.add_argument("old", metavar="OLD", help="a plan.json")
    parser.add_argument("new", metavar="NEW", help="another plan.json")
    options = parser.parse_args()
    lines = list(differences(*(read(Path(p), files=False) for p in (options.old, options.new))))
    print("\n".join(lines) if lines else "no difference")
    if lines:
        sys.stdout.flush()
        sys.exit(DIFFER)


if __name__ == "__main__":
    run(main)
