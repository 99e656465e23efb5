"""A run from where it starts to its end: steps, validations, checkpoints, and the log beside."""

import math
import time
from collections.abc import Iterator
from contextlib import closing

from ir.command import Error
from runtime import checkpoint
from runtime.checkpoint import Counters
from runtime.executor import Executor
from runtime.job import Job
from runtime.log import Log, Record
from runtime.numerics import Checked, NumericsError
from runtime.profile import STEPS as PROFILED
from runtime.profile import profile
from runtime.progress import Progress
from runtime.shelf import Shelf
from runtime.stop import Stop
from runtime.trainer import Prepared, Trainer


class Session:
    """A job on an open executor, from where it starts to its end."""

    def __init__(self, job: Job, executor: Executor, stop: Stop, progress: Progress) -> None:
        """Take the state from a checkpoint, or make a new one. Raises Error."""
        self._job, self._options = job, job.options
        self._executor, self._stop, self._progress = executor, stop, progress
        self._shelf = Shelf(self._options.last, self._options.best, self._options.keep)
        self._start = self._started()
        self.step, self.seed = self._start.step, self._start.seed
        self._kept = self.step  # the step of the newest checkpoint
        self.profile = profile(job.plan, self._options.devices, self._options.threads)

    def run(self) -> None:
        """Train until the end, or until asked to stop. Raises Error, NumericsError."""
        try:
            with Log(self._options.log_file, keep=self.step) as log:
                self._mend(log)
                self._train(log)
        except Error as error:
            last = f"{self._options.last} of step {self._kept}" if self._kept else "none yet"
            error.args = (f"{error}; last good checkpoint: {last}",)
            raise

    def _started(self) -> Counters:
        options, states = self._options, self._executor.states
        if options.resumes:
            found = checkpoint.load(options.last, states)
            if options.seed not in (None, found.seed):
                raise Error(f"{options.last}: its seed is {found.seed}; --seed is {options.seed}")
            self._progress.say(f"resuming {options.last} after step {found.step}")
            return found
        seed = options.seed or 0
        states.initialise(seed)
        if options.init:
            checkpoint.load(options.init, states, parameters_only=True, fresh=options.fresh)
        return Counters(step=0, epoch=0, seed=seed)

    def _mend(self, log: Log) -> None:
        """Finish what a killed run had begun."""
        if self._options.resume:
            self._shelf.tidy(self.step)
        if self.step and log.best_step == self.step:
            self._shelf.prefer()

    def _trainer(self) -> Trainer:
        job, start = self._job, self._start
        return Trainer(
            self._executor,
            job.schedule,
            job.training(start.seed),
            job.validation,
            start.seed,
            errors=start.errors,
            run=Checked(self._executor).run if self._options.check_numerics else None,
        )

    def _train(self, log: Log) -> None:
        trainer = self._trainer()
        minutes = self._options.minutes
        end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        steps = self.step if trainer.ended else self._job.steps
        with closing(trainer.batches(self.step, steps)) as batches:
            for step in range(self.step, steps):
                self._begin(trainer, step, batches)
                last = step + 1 == steps or time.monotonic() >= end
                stopping = bool(self._stop.reason)
                due = last or stopping or self._is_due(step + 1)
                while trainer.going > (0 if due else self._executor.ahead):
                    self._note(trainer.finish(), log)
                if due:
                    self._keep(trainer, log, last)
                if last or stopping or trainer.ended:
                    break
        if trainer.ended:
            self._progress.say(f"the recipe's schedule ended the run after step {self.step}")

    def _begin(self, trainer: Trainer, step: int, batches: Iterator[Prepared]) -> None:
        profiled = self._options.profile and step < self._start.step + PROFILED
        try:
            trainer.start(step, batches, self.profile.watch if profiled else None)
        except NumericsError as error:
            raise NumericsError(f"at step {step + 1}: {error}") from error

    def _is_due(self, step: int) -> bool:
        """Whether a checkpoint follows some count of steps."""
        every = self._options.checkpoint_every
        return self._is_tested(step) or bool(every and step % every == 0)

    def _is_tested(self, step: int) -> bool:
        """Whether a validation does."""
        every = self._options.validate_every
        return self._job.schedule.ends_epoch(step - 1) or bool(every and step % every == 0)

    def _note(self, record: Record, log: Log) -> None:
        """Log and show a step."""
        if not math.isfinite(record["loss"]):
            raise NumericsError(
                f"the loss is {record['loss']} at step {record['step']}, "
                f"with rate {record['lr']:g}; a lower --lr may help"
            )
        log.add(record)
        self._progress.step(record)
        self.step = int(record["step"])

    def _keep(self, trainer: Trainer, log: Log, last: bool) -> None:
        """Save; validate before, where it is time to."""
        before = log.best
        if last or self._is_tested(self.step):
            self._validate(trainer, log)
        self._save(trainer)
        if log.best > before:
            self._shelf.prefer()

    def _validate(self, trainer: Trainer, log: Log) -> None:
        record = trainer.validate(self.step - 1)
        if record is None:
            return
        if not math.isfinite(record["validation_loss"]):
            raise NumericsError(
                f"the validation loss is {record['validation_loss']} after step {self.step}"
            )
        log.add(record)
        self._progress.validation(record)

    def _save(self, trainer: Trainer) -> None:
        epoch, seed = self._job.schedule.epoch(self.step), self._start.seed
        counters = Counters(step=self.step, epoch=epoch, seed=seed, errors=trainer.errors)
        self._shelf.save(self._executor.states, counters)
        self._kept = self.step
