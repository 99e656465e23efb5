"""Train what a plan describes: `python -m runtime.train plan.json`.

The run's folder gets the newest and the best checkpoint, the log and its picture. A run that was
stopped goes on with `--resume`, and takes the same steps as one that was not.
"""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from platform import python_version

import msgspec
import numpy as np

from ir import plan as plans
from ir.command import Error, Exit, run
from runtime import files, recipes
from runtime.devices import open_executor
from runtime.fit import table
from runtime.job import Job
from runtime.log import accuracy, read
from runtime.options import parse
from runtime.pictures.curves import curves
from runtime.pictures.file import write
from runtime.progress import Progress
from runtime.session import Session
from runtime.stop import Stop


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"{folder}: cannot be made: {error.strerror}") from error


def _record(job: Job, session: Session, started: str, ended: str | None = None) -> None:
    """Say beside the checkpoints what makes them."""
    options = {key: str(value) for key, value in asdict(job.options).items() if value is not None}
    facts: dict[str, object] = {
        "plan": files.file_hash(job.options.plan),
        "versions": {**job.plan.versions, "python": python_version(), "numpy": np.__version__},
        "options": options,
        "recipe": msgspec.to_builtins(job.recipe),
        "seed": session.seed,
        "step": session.step,
        "started": started,
        "ended": ended,
    }
    files.write_json(job.options.out / "run.json", facts)
    files.write_text(job.options.recipe_file, recipes.text(job.recipe))


def _run(job: Job, session: Session) -> None:
    """Train, and write what the run's folder holds. Raises Error."""
    started = _now()
    _record(job, session, started)
    session.run()
    _record(job, session, started, _now())
    write(curves({"": read(job.options.log_file)}), job.options.curve)
    if job.options.profile:
        session.profile.write(job.options.profile)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _report(job: Job, step: int) -> None:
    """The run's results, on standard output."""
    options = job.options
    records = [record for record in read(options.log_file) if "validation_top1" in record]
    print(f"steps       {step}")
    if records:
        best = max(records, key=accuracy)
        print(f"validation  {accuracy(records[-1]):.2%} right after step {records[-1]['step']}")
        print(f"best        {accuracy(best):.2%} right after step {best['step']}: {options.best}")
    print(f"checkpoint  {options.last}")
    print(f"loss curve  {options.curve}")
    print(f"log         {options.log_file}")


def train(job: Job) -> Exit:
    """Run a job. Raises Error."""
    options = job.options
    directory = plans.folder(options.plan)
    with (
        Stop() as stop,
        Progress(job.steps, job.recipe.epochs) as progress,
        open_executor(
            job.plan, directory, binding=options.devices, threads=options.threads
        ) as executor,
    ):
        for line in job.describe():
            progress.say(line)
        for line in table(executor.needs):
            progress.say(line)
        session = Session(job, executor, stop, progress)
        _make(options.out)
        with files.alone(options.out, "training into it"):
            _run(job, session)
        if options.profile:
            for line in session.profile.table():
                progress.say(line)
        if stop.reason:
            progress.say(
                f"stopped by {stop.reason} after step {session.step}; "
                f"{options.last} is saved, --resume goes on"
            )
            return Exit.STOPPED
    _report(job, session.step)
    return Exit.OK


def main() -> None:
    """Train a plan's network on a data set, with checkpoints, a log and a loss curve."""
    job = Job(parse(main.__doc__))
    if job.options.dry_run:
        print("\n".join([*job.describe(), *job.details()]))
    elif status := train(job):
        sys.exit(status)


if __name__ == "__main__":
    run(main)
