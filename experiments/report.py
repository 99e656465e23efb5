"""What came of an experiment: a table to read, the same as JSON, and the curves of its runs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from experiments.comparison import Results, Row, Trial
from runtime.files import write_json, write_text
from runtime.pictures.curves import curves
from runtime.pictures.file import write

NONE = "none"


@dataclass(frozen=True)
class Column:
    """A number of each run: its key, what the table calls it, a factor, and digits to show."""

    key: str
    title: str
    factor: float = 1
    digits: int = 2

    def values(self, rows: Sequence[Row]) -> list[float | None]:
        """By seed, as the table shows them; None where a run has no such number."""
        found = [row.get(self.key) for row in rows]
        return [None if value is None else value * self.factor for value in found]

    def cell(self, values: Sequence[float | None]) -> str:
        """Their mean, and how they spread; nothing unless every seed has one."""
        numbers = [value for value in values if value is not None]
        if not numbers or len(numbers) < len(values):
            return NONE
        spread = f" ± {stdev(numbers):.{self.digits}f}" if len(numbers) > 1 else ""
        return f"{mean(numbers):.{self.digits}f}{spread}"


def differences(one: Sequence[float | None], two: Sequence[float | None]) -> list[float | None]:
    """Seed by seed: how much less one is than two."""
    pairs = zip(one, two, strict=True)
    return [None if a is None or b is None else b - a for a, b in pairs]


def rows(results: Results, columns: Sequence[Column]) -> list[list[str]]:
    """A row of the table for each variant, its name first."""
    return [
        [name, *(column.cell(column.values(found)) for column in columns)]
        for name, found in results.items()
    ]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its columns aligned for those who read it as text."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    aligned = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in aligned)


def broken(results: Results) -> Iterator[str]:
    """A line for each run that broke off, with the reason."""
    for name, found in results.items():
        for seed, row in enumerate(found):
            if "diverged" in row:
                yield f"{name}, seed {seed}: {row['diverged']}"


def publish(out: Path, text: str, results: Results, drawn: Sequence[Trial]) -> None:
    """Write the table, the numbers and the picture, and print the table. Raises Error."""
    text += "".join(f"\n{line}\n" for line in broken(results))
    write_text(out / "table.md", text)
    write_json(out / "results.json", {"variants": results})
    runs = {f"{trial.variant.name}, seed {trial.seed}": trial.log() for trial in drawn}
    write(curves(runs), out / "curves.svg")
    print(text)
    print(f"table    {out / 'table.md'}")
    print(f"numbers  {out / 'results.json'}")
    print(f"curves   {out / 'curves.svg'}")
