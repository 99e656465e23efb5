"""From plans, checkpoints, data and logs to the pictures that `runtime.show` writes."""

from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ir import plan as plans
from ir.command import DataError, Error
from ir.plan import Plan, State
from runtime import tensors
from runtime.classifier import FEATURES, PROBABILITIES, Floats
from runtime.data import draws
from runtime.data.dataset import Part
from runtime.data.draws import Indices, Purpose
from runtime.log import read
from runtime.nearest import nearest
from runtime.pictures.canvas import Canvas
from runtime.pictures.curves import curves
from runtime.pictures.filters import Panel, Weights, filters
from runtime.pictures.maps import Maps, maps
from runtime.pictures.neighbours import Neighbour, neighbours
from runtime.pictures.predictions import Prediction, predictions
from runtime.pictures.tiles import colours
from runtime.progress import Bar
from runtime.scores import right
from runtime.trained import Trained, opened

# ------------------------------------------------------------------------------ filters


def show_filters(options: Namespace) -> Canvas:
    """The kernels of a checkpoint, in a panel for each device of a plan. Raises Error."""
    plan = plans.read(options.plan)
    name = options.layer or _first_convolution(plan)
    pieces = [state for state in plan.states if state.logical == name and state.kind == "param"]
    if not pieces or len(pieces[0].whole) != 4:
        known = ", ".join(s.logical for s in _convolutions(plan))
        raise Error(f"--layer {name}: no convolution's weights, expected one of {known}")
    channels = pieces[0].whole[1]
    channel = options.channel if options.channel is not None else None if channels == 3 else 0
    if channel is not None and channel >= channels:
        raise Error(f"--channel {channel}: {name} has channels 0 to {channels - 1}")
    whole = _parameter(options.checkpoint, pieces[0])
    return filters(name, [_panel(piece, whole) for piece in pieces], channel)


def _convolutions(plan: Plan) -> list[State]:
    states = (s for s in plan.states if s.kind == "param" and len(s.whole) == 4)
    return list({state.logical: state for state in states}.values())


def _first_convolution(plan: Plan) -> str:
    found = _convolutions(plan)
    if not found:
        raise Error(f"{plan.name} has no convolution, so there are no filters to show")
    return found[0].logical


def _panel(piece: State, whole: Weights) -> Panel:
    first = piece.start[0]
    kernels = whole[first : first + piece.tensor.layout.shape[0]]
    return Panel(f"device {piece.tensor.device}", first, kernels)


def _parameter(path: Path, state: State) -> Weights:
    """A parameter as a checkpoint has it. Raises DataError unless it is the plan's."""
    with tensors.opened(path) as found:
        value = found.read(state.logical).astype(np.float32)
    if value.shape != state.whole:
        got, expected = list(value.shape), list(state.whole)
        raise DataError(f"{path}: {state.logical} has shape {got}, expected {expected}")
    return value


# ------------------------------------------------------------------------------- curves


def show_curves(options: Namespace) -> Canvas:
    """Logs, or the logs in runs' folders. Raises Error."""
    runs = {}
    for path in options.runs:
        file = path / "log.jsonl" if path.is_dir() else path
        if not file.is_file():
            raise DataError(f"{path}: expected a log, or a run's folder with log.jsonl")
        runs[str(path)] = read(file)
    return curves(runs)


# ---------------------------------------------------------------------- a network's view


def show_predictions(options: Namespace) -> Canvas:
    """Images of the validation, all or those told wrong, with likeliest classes. Raises Error."""
    with opened(options) as network:
        network.load(options.checkpoint)
        part = network.dataset.validation
        looked = _chosen(part, len(part) if options.only_errors else options.images)
        found = network.classifier.see(looked, [PROBABILITIES])[PROBABILITIES]
        shown = np.arange(len(looked))
        if options.only_errors:
            shown = shown[right(found, looked.labels, 1) < 1]
        if not len(shown):
            raise Error("--only-errors: every image is told right")
        shown = shown[: options.images]
        images = zip(looked.read(shown), found[shown], looked.labels[shown].tolist(), strict=True)
        cards = [Prediction(colours(image), shares, label) for image, shares, label in images]
        return predictions(cards, network.names())


def show_neighbours(options: Namespace) -> Canvas:
    """Images of the validation beside those of the training whose features are nearest."""
    with opened(options) as network, Bar("looked at", len(network.dataset.train)) as bar:
        network.load(options.checkpoint)
        asked, known = _chosen(network.dataset.validation, options.images), network.dataset.train
        features = network.classifier.see(asked, [FEATURES])[FEATURES]
        places, distances = nearest(features, _features(network, known, bar), options.near)
        rows = []
        for one, (near, far) in enumerate(zip(places, distances, strict=True)):
            (first,) = _neighbours(asked, np.array([one]), [0.0])
            rows.append((first, _neighbours(known, near, far)))
        return neighbours(rows, network.names())


def _features(network: Trained, part: Part, bar: Bar) -> Iterator[Floats]:
    for found in network.classifier.look(part, [FEATURES]):
        yield found[FEATURES]
        bar.add(len(found[FEATURES]))


def _neighbours(part: Part, places: Indices, distances: Iterable[float]) -> list[Neighbour]:
    images = zip(part.read(places), part.labels[places].tolist(), distances, strict=True)
    return [Neighbour(colours(image), label, float(far)) for image, label, far in images]


def show_maps(options: Namespace) -> Canvas:
    """What the network makes of images of the validation. Raises Error."""
    with opened(options) as network:
        network.load(options.checkpoint)
        part = _chosen(network.dataset.validation, options.images)
        values = network.classifier.see(part, [options.value])[options.value]
        if values.ndim != 4:
            raise Error(f"'{options.value}' is {list(values.shape)}; expected maps [n,maps,h,w]")
        images = part.read(np.arange(len(part)))
        rows = [Maps(colours(image), each) for image, each in zip(images, values, strict=True)]
        return maps(options.value, rows, options.maps)


def _chosen(part: Part, count: int) -> Part:
    """Some images of a part, always the same ones."""
    places = _mixed(len(part))[:count]
    return Part(part.labels[places], lambda indices: part.read(places[indices]))


def _mixed(count: int) -> Indices:
    """All places, in an order that does not follow the classes."""
    return draws.order(count, Purpose.SPLIT, seed=0)
