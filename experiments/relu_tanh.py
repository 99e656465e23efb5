"""ReLU against tanh, figure 1 of the paper: `python -m experiments.relu_tanh`.

Paper, section 3.1: a network of four layers with ReLUs reaches 25 % training error on CIFAR-10 six
times faster than the same one with tanh units. Rates were chosen for each of the two, to make it as
fast as possible; nothing regularises them.

Which network that was, the paper does not say. `13pct` has four layers, two convolutions and two
that are locally connected, and is the one of section 3.3; `--net 18pct` has three convolutions and
one dense layer. Here every net is trained with every rate, without decay and augmentation, and the
rate counts that reached the error first. The training error is that of the steps themselves, as a
mean over as many of them as an epoch has, so 1 is the least number of epochs.

Real data: a store of CIFAR-10; 12 million images to learn from for each seed, hours on two cores:

    python -m runtime.data.prepare cifar-10-batches-bin STORE --size 32
    python -m experiments.relu_tanh --data STORE --seeds 3

Here: minutes on two cores. Digits are so easy that both nets reach the error within two epochs, and
tanh a little sooner; what it takes to be six times faster is CIFAR-10:

    python -m experiments.relu_tanh --batch 32 --epochs 4 --rates 0.001,0.003,0.01 --seeds 2
"""

import math
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from statistics import mean

from experiments import comparison
from experiments import options as shared
from experiments.comparison import Results, Row, Variant
from experiments.measures import learned
from experiments.report import Column, markdown, publish, rows
from frontend.cifar import NETS, cifar
from frontend.options import ACTIVATIONS
from ir.command import run

EPOCHS = 40  # of the figure
FASTER = 6  # times, in the paper
PLAIN = ("--no-augment", "--weight-decay", "0", "--schedule", "milestones")

LEARNED = Column("epochs", "epochs to the error")
COLUMNS = (
    LEARNED,
    Column("training_error", "training error at last, %", 100),
    Column("validation_error", "validation error, %", 100),
)


def main() -> None:
    """Compare how soon a small network has learned with ReLUs and with tanh units."""
    options = _options()
    trials = comparison.trials(_variants(options), options)
    if options.dry_run:
        print("\n".join(comparison.describe(trials)))
        return
    shared.claim(options)
    results = comparison.run(trials, learned)
    best = [fastest(results, activation) for activation in ACTIVATIONS]
    header = [f"to {options.target:.0%} training error", *(column.title for column in COLUMNS)]
    text = markdown(header, rows(results, COLUMNS))
    text += f"\nfastest: {', '.join(best)}; {_ratio(*(results[name] for name in best))}\n"
    publish(options.out, text, results, [t for t in trials if t.variant.name in best])


def fastest(results: Results, activation: str) -> str:
    """The variant with this activation that reached the error first, or came closest to it."""
    names = [name for name in results if name.startswith(activation)]
    return min(names, key=lambda name: _merit(results[name]))


def _merit(found: Sequence[Row]) -> tuple[float, float]:
    """Mean epochs to the error, and mean training error; infinite where a seed has none."""
    epochs, error = (
        [math.inf if row.get(key) is None else row[key] for row in found]
        for key in ("epochs", "training_error")
    )
    return mean(epochs), mean(error)


def _ratio(relu: Sequence[Row], tanh: Sequence[Row]) -> str:
    ratios = [
        slow["epochs"] / fast["epochs"] if slow.get("epochs") and fast.get("epochs") else None
        for fast, slow in zip(relu, tanh, strict=True)
    ]
    if None in ratios:
        return f"not both reached the error; in the paper ReLUs do {FASTER} times faster"
    return f"ReLUs {LEARNED.cell(ratios)} times faster, in the paper {FASTER} times"


def _options() -> Namespace:
    parser = shared.parser("relu_tanh", main.__doc__, epochs=EPOCHS)
    add = parser.add_argument
    add("--net", choices=NETS, default="13pct", help="of frontend.cifar (default 13pct)")
    rates = "0.0003,0.001,0.003"
    add("--rates", type=_rates, default=rates, metavar="R,R", help=f"to try (default {rates})")
    error = "training error to reach (default 0.25)"
    add("--target", type=_share, default=0.25, metavar="E", help=error)
    return parser.parse_args()


def _variants(options: Namespace) -> list[Variant]:
    return [
        Variant(
            name=f"{activation}-{rate}",
            network=cifar(options.batch, net=options.net, activation=activation),
            devices=1,
            training=(*PLAIN, "--lr", rate),
        )
        for activation in ACTIVATIONS
        for rate in options.rates
    ]


def _rates(text: str) -> list[str]:
    found = list(dict.fromkeys(text.split(",")))
    for word in found:
        if not 0 < _number(word) < math.inf:
            raise ArgumentTypeError(f"{word!r} is no rate; expected such as 0.001,0.003")
    return found


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        raise ArgumentTypeError(f"{text!r} is no error between 0 and 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no number") from error


if __name__ == "__main__":
    run(main)
