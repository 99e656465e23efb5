"""Runs the programs of a plan: what is the same on all kinds of devices."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy.typing as npt

from ir.command import Error
from ir.plan import Move, Plan, Run, Tensor
from runtime.feeds import Feeds, Packed
from runtime.fit import Need
from runtime.memory import Memory, read_tensor, write_tensor
from runtime.packing import Array
from runtime.state import States

Step = Run | Move


@dataclass(frozen=True)
class Event:
    """A logical device's part in one step, in seconds of `perf_counter`."""

    device: int
    step: Step
    start: float
    end: float


Watch = Callable[[Event], None]
"""Called for each step and each of its devices, by any thread."""

Outputs = Callable[[], Mapping[str, Array]]
"""The outputs of a run by name, once it is done. Raises Error if it failed."""


class Executor(ABC):
    """A checked plan on devices of one kind. Use it in a `with` statement.

    `ahead` is how many runs may still go on when the next one is started.
    """

    ahead = 0

    def __init__(self, plan: Plan, memories: Sequence[Memory], needs: Sequence[Need]) -> None:
        """`memories` are the arenas, `needs` what the machine's devices must hold."""
        self.plan, self.memories, self.needs = plan, memories, needs
        self.states = States(plan, memories)
        self._feeds = {name: Feeds(program) for name, program in plan.programs.items()}
        self._fed: dict[str, dict[str, Packed]] = {name: {} for name in plan.programs}
        self._outputs: dict[str, Outputs] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of the devices."""

    # ---------------------------------------------------------------------- in and out

    def pack(self, program: str, name: str, value: npt.ArrayLike) -> Packed:
        """What `feed` takes, made ahead; any thread may call it. Raises DataError as `feed`."""
        return self._feeds[program].pack(name, value)

    def feed(self, program: str, name: str, value: npt.ArrayLike | Packed) -> None:
        """Set a feed by its logical name, for all runs until it is fed again.

        Raises DataError for an unknown name, another shape or type, and integers out of range.
        """
        packed = value if isinstance(value, Packed) else self.pack(program, name, value)
        if packed.name != name or len(packed.parts) != len(self._feeds[program].copies[name]):
            raise ValueError(f"feed '{name}' was given what was packed for '{packed.name}'")
        self._fed[program][name] = packed

    def output(self, program: str, name: str) -> Array:
        """An output of the program's last run. Raises Error for an unknown one."""
        known = [tensor.name for tensor in self.plan.programs[program].outputs]
        if name not in known:
            raise Error(f"output '{name}' is unknown, expected one of {', '.join(known)}")
        if program not in self._outputs:
            raise Error(f"output '{name}': program {program} was never run")
        return self._outputs[program]()[name]

    def read(self, tensor: Tensor) -> Array:
        """A copy of what lies where a record says."""
        return read_tensor(self.memories, tensor)

    def write(self, tensor: Tensor, value: Array) -> None:
        """Put a value of the record's shape and dtype there."""
        write_tensor(self.memories, tensor, value)

    # --------------------------------------------------------------------------- runs

    def run(self, program: str, watch: Watch | None = None) -> Outputs:
        """Start all steps; at most `ahead` runs then still go on. States are read when all ended.

        Raises Error if something was not fed, and what any device raised. After an exception or
        an interrupt the devices have stopped, somewhere within the program.
        """
        self._require_fed(program)
        self._outputs.pop(program, None)
        self._outputs[program] = self._run(program, watch)
        return self._outputs[program]

    def begin(self, program: str) -> None:
        """Put constants and feeds in place, as `run` does before the first step."""
        self._require_fed(program)
        self._begin(program)

    @abstractmethod
    def step(self, program: str, index: int) -> None:
        """Do one step alone; `begin` and the steps before it must have been done."""

    @abstractmethod
    def _run(self, program: str, watch: Watch | None) -> Outputs:
        """`run`, when everything is fed."""

    @abstractmethod
    def _begin(self, program: str) -> None:
        """`begin`, when everything is fed."""

    def _require_fed(self, program: str) -> None:
        missing = self._feeds[program].copies.keys() - self._fed[program].keys()
        if missing:
            raise Error(f"program {program}: '{min(missing)}' was never fed, expected a value")
