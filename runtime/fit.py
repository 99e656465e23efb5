"""Whether a plan fits into the memory of this machine's devices, and which batch would."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ir.command import Error, Exit
from ir.plan import Plan


class DoesNotFit(Error):
    """The machine lacks the memory."""

    exit = Exit.NO_FIT


@dataclass(frozen=True)
class Need:
    """Bytes that a device must hold, by what they are for, and those free, if that can be told.

    `fixed` of them do not grow with the batch.
    """

    device: str
    parts: dict[str, int]
    fixed: int
    free: int | None

    @property
    def total(self) -> int:
        """All that it must hold."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether it can; where nothing is known, it is tried."""
        return self.free is None or self.total <= self.free

    def rows(self) -> list[tuple[str, int]]:
        """What the table shows."""
        free = [] if self.free is None else [("free", self.free)]
        return [*self.parts.items(), ("in all", self.total), *free]


def states(plan: Plan, logical: Iterable[int]) -> int:
    """Bytes of the parameters and other states on some logical devices."""
    devices = set(logical)
    return sum(s.tensor.bytes for s in plan.states if s.tensor.device in devices)


def table(needs: Sequence[Need]) -> list[str]:
    """Lines with what each device needs and has."""
    return [
        f"{need.device:8} {what:24} {size / 1e6:12,.1f} MB"
        for need in needs
        for what, size in need.rows()
    ]


def require(plan: Plan, needs: Sequence[Need]) -> None:
    """Raise DoesNotFit, with the table, unless every device can plainly hold what it must."""
    short = next((need for need in needs if not need.fits), None)
    if short is None or short.free is None:
        return
    lines = "\n".join(f"  {line}" for line in table(needs))
    raise DoesNotFit(
        f"the plan needs {short.total / 1e9:.2f} GB of memory on {short.device}, "
        f"{short.free / 1e9:.2f} GB are free; expected {_cure(plan, needs)}\n{lines}"
    )


def _cure(plan: Plan, needs: Sequence[Need]) -> str:
    batch = largest_batch(plan, needs)
    return f"a batch of about {batch} or less" if batch else "a smaller network or another machine"


def largest_batch(plan: Plan, needs: Sequence[Need]) -> int:
    """About the largest batch that would fit, 0 if none would.

    All but the fixed bytes grow with the batch, which fills whole blocks of lanes.
    """
    batch, lanes = max((p.batch for p in plan.programs.values()), default=0), _lanes(plan)
    blocks = -(-batch // lanes)
    for need in needs:
        growing = need.total - need.fixed
        if need.free is not None and growing:
            room = max(0, need.free - need.fixed)
            blocks = min(blocks, -(-batch // lanes) * room // growing)
    return min(batch, blocks * lanes)


def _lanes(plan: Plan) -> int:
    """How many elements of a batch lie side by side."""
    layouts = [feed.tensor.layout for p in plan.programs.values() for feed in p.feeds]
    return max((factor for layout in layouts for _, factor in layout.splits), default=1)
