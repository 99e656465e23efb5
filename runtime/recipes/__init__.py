"""Recipes as TOML files: those in this folder by their names, any other by its path."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ir.command import Error
from ir.plan import one_line
from runtime.rates import Exponential, Milestones, Plateau
from runtime.recipe import Augment, Recipe, Rule

Facts = dict[str, Any]

_TABLES: dict[str, Any] = {
    "": (Recipe,),
    "augment": (Augment,),
    "parameters": (Rule,),
    "schedule": (Plateau, Milestones, Exponential),
}
_WORDS = {
    "`": "",
    "Object contains unknown field": "unknown key",
    "Object missing required field": "missing key",
    "Expected": "expected",
}


def shipped() -> dict[str, Path]:
    """The recipes in this folder, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}


def read(name: str) -> Recipe:
    """A shipped recipe, or one in a file. Raises Error naming the file and the key at fault."""
    path = shipped().get(name, Path(name))
    try:
        return _typed(tomllib.loads(path.read_text("utf-8")), str(path))
    except OSError as error:
        names = ", ".join(shipped())
        complaint = f"cannot be read: {error.strerror}; expected one of {names}, or a TOML file"
        raise Error(f"recipe {path}: {complaint}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Error(f"recipe {path}: not TOML: {error}") from error


def changed(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """The recipe with some keys replaced; each option is TOML, such as `augment.positions = 32`.

    `changes` are by the option that asks for them, which errors name. Raises Error.
    """
    facts = msgspec.to_builtins(recipe)
    for option, text in changes.items():
        try:
            facts = _merged(facts, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise Error(f"{option}: not TOML: {error}") from error
        recipe = _typed(facts, option)
    return recipe


def text(recipe: Recipe) -> str:
    """The recipe as TOML, with every key that has a value; `read` gives it back."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in _given(recipe).items())


def _merged(old: Facts, new: Facts) -> Facts:
    """Tables are merged, but a schedule of another kind shares no key with the old one."""
    both = {
        key: _merged(old[key], value)
        for key, value in new.items()
        if isinstance(value, dict) and isinstance(old.get(key), dict) and "kind" not in value
    }
    return {**old, **new, **both}


def _given(table: Any) -> Facts:
    facts: Facts = msgspec.to_builtins(table)
    return {key: value for key, value in facts.items() if value is not None}


def _toml(value: Any) -> str:
    match value:
        case dict():
            pairs = (f"{key} = {_toml(v)}" for key, v in value.items() if v is not None)
            return f"{{ {', '.join(pairs)} }}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case str() | bool():
            # TOML knows no surrogate pairs, and has this one more character escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return repr(value)


def _typed(facts: Facts, where: str) -> Recipe:
    try:
        return msgspec.convert(facts, Recipe)
    except msgspec.ValidationError as error:
        raise Error(f"recipe {where}: {one_line(_worded(str(error)))}") from error


def _worded(message: str) -> str:
    """From msgspec's "... - at `$.augment.shared`" to "augment.shared: ...", and what fits."""
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    complaint, _, place = message.partition(" - at $")
    place = place.strip(".")
    expected = ""
    if "unknown key" in complaint:
        table = place.split(".")[-1].partition("[")[0]
        keys = {field for kind in _TABLES[table] for field in kind.__struct_fields__}
        expected = f"; expected one of {', '.join(sorted(keys))}"
    elif complaint.startswith("Invalid value") and place.endswith("kind"):
        expected = "; expected one of plateau, milestones, exponential"
    return f"{place}: {complaint}{expected}".removeprefix(": ")
