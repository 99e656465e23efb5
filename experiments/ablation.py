"""The paper's network with a feature and without it, as its ablations have them."""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from experiments import comparison
from experiments import options as shared
from experiments.comparison import Row, Variant
from experiments.measures import evaluated
from experiments.report import Column, differences, markdown, publish, rows
from frontend.alexnet import PRESETS, alexnet
from frontend.options import add_sizes
from runtime.views import COUNTS

ERRORS = (Column("top1_error", "top-1 error, %", 100), Column("top5_error", "top-5 error, %", 100))
REST = (
    Column("log_probability", "log-probability", digits=3),
    Column("images_per_second", "images/s", digits=0),
)


@dataclass(frozen=True)
class Side:
    """A network: its name, what `frontend.alexnet` is told, on how many devices it is placed."""

    name: str
    told: dict[str, Any] = field(default_factory=dict)
    devices: int = 2


@dataclass(frozen=True)
class Ablation:
    """Two networks, and by how many points the paper says that the first one's errors are lower."""

    feature: str
    one: Side
    other: Side
    top1: float
    top5: float


def compare(ablation: Ablation, description: str | None) -> None:
    """Do what the command line of an ablation asks for. Raises Error."""
    options = _options(ablation.feature, description)
    variants = [_variant(side, options) for side in (ablation.one, ablation.other)]
    trials = comparison.trials(variants, options)
    if options.dry_run:
        print("\n".join(comparison.describe(trials)))
        return
    shared.claim(options)
    results = comparison.run(trials, evaluated)
    header = [ablation.feature, *(column.title for column in (*ERRORS, *REST))]
    gains = [_gain(column, *results.values()) for column in ERRORS]
    published = [f"{points:.1f}" for points in (ablation.top1, ablation.top5)]
    below = [["gain, points", *gains, "", ""], ["gain in the paper", *published, "", ""]]
    text = markdown(header, [*rows(results, (*ERRORS, *REST)), *below])
    publish(options.out, text, results, trials)


def _gain(column: Column, one: list[Row], other: list[Row]) -> str:
    return column.cell(differences(column.values(one), column.values(other)))


def _options(name: str, description: str | None) -> Namespace:
    parser = shared.parser(name, description)
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="paper", help="its text (default), or its code")
    add("--views", type=int, choices=COUNTS, default=1, help="the middle crop (default), or ten")
    add_sizes(parser)
    return parser.parse_args()


def _variant(side: Side, options: Namespace) -> Variant:
    names = ("batch", "preset", "dropout", "classes", "image", "store", "width")
    asked = {name: getattr(options, name) for name in names}
    return Variant(side.name, alexnet(**asked, **side.told), side.devices)
