"""Which of this machine's devices stand for a plan's logical ones."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ir.command import Error
from ir.plan import Plan


@dataclass(frozen=True)
class Physical:
    """A device of this machine, such as "cpu:0", and the logical devices it stands for."""

    name: str
    logical: tuple[int, ...]

    @property
    def number(self) -> int:
        """Its place among the machine's devices of its kind."""
        return int(self.name.partition(":")[2])


def kind(plan: Plan) -> str:
    """The kind of device that a plan's kernels are for: "cpu" or "cuda"."""
    return plan.binding[0].partition(":")[0]


def bind(plan: Plan, binding: str | None) -> tuple[Physical, ...]:
    """The devices of a binding such as "cpu:0,cpu:1", or of the plan's own one.

    Raises Error for a name that is no device, another kind of device than the plan's, and another
    number of names.
    """
    names = plan.binding if binding is None else binding.split(",")
    shown, wanted = f"--devices {','.join(names)}", kind(plan)
    expected = f"expected {wanted}:0, {wanted}:1, ..."
    for name in names:
        if not re.fullmatch(r"(cpu|cuda):\d{1,4}", name):
            raise Error(f"{shown}: unknown device '{name}', {expected}")
        if not name.startswith(wanted):
            raise Error(f"{shown}: '{name}' cannot run what was built for {wanted}, {expected}")
    if len(names) != len(plan.devices):
        raise Error(f"{shown}: {len(names)} named, expected {len(plan.devices)} as in the plan")
    return grouped(names)


def grouped(names: Sequence[str]) -> tuple[Physical, ...]:
    """Each device once, in the order of the names, which are those of logical devices."""
    return tuple(
        Physical(name, tuple(device for device, bound in enumerate(names) if bound == name))
        for name in dict.fromkeys(names)
    )
