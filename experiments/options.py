"""The options that all experiments have, and the folder that keeps to them."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ir.command import DataError, Error
from runtime.data import DATASETS
from runtime.files import write_json
from runtime.trained import count

FREE = ("dry_run", "out", "seeds")  # may differ when a command is given again


def parser(name: str, description: str | None, *, epochs: int | None = None) -> ArgumentParser:
    """The parser of `python -m experiments.NAME`; the name is in what it parses, too."""
    found = ArgumentParser(prog=f"python -m experiments.{name}", description=description)
    found.set_defaults(experiment=name)
    add = found.add_argument
    add("--data", default="digits", help=f"{', '.join(DATASETS)}, or a store (default digits)")
    add("--batch", type=count, default=128, metavar="N", help="images per step (default 128)")
    length = f"of each run (default {epochs or 'those of the recipe'})"
    add("--epochs", type=count, default=epochs, metavar="N", help=length)
    add("--steps", type=count, metavar="N", help="end each run after step N")
    add("--seeds", type=count, default=1, metavar="N", help="runs of each variant (default 1)")
    add("--devices", metavar="NAMES", help="as of codegen.build (default: GPUs, else cpu:0,cpu:1)")
    out = Path("run") / name
    add("--out", type=Path, default=out, metavar="DIR", help=f"for all results (default {out})")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    more = "after --, options of runtime.train for every run, such as -- --lr 0.002"
    add("training", nargs="*", metavar="OPTION", help=more)
    return found


def claim(options: Namespace) -> None:
    """Note in the folder what it is for. Raises Error where it is for something else."""
    path = options.out / "experiment.json"
    asked = {key: value for key, value in vars(options).items() if key not in FREE}
    if not path.is_file():
        write_json(path, asked)
        return
    found = read(path)
    for key in asked:
        if found.get(key) != asked[key]:
            raise Error(
                f"{path}: {key} was {found.get(key)!r} and is {asked[key]!r} now; "
                "expected the same, or another --out"
            )


def read(path: Path) -> dict[str, Any]:
    """What an experiment has written as JSON. Raises DataError for anything else."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}; expected JSON") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object")
    return found
