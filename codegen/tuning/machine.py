"""What can be measured: a machine's cores (`cores`) or its GPU (`card`)."""

from dataclasses import dataclass
from typing import Protocol

from codegen.targets import Target
from codegen.tuning.records import Records
from ir.graph import Graph
from ir.plan import Speeds


@dataclass(frozen=True)
class Tuned:
    """What was found for a region: the record of it, seconds before and after, and in words."""

    found: Records
    before: float
    seconds: float
    chosen: str


class Machine(Protocol):
    """Something that kernels are tuned for."""

    @property
    def target(self) -> Target:
        """What kernels are compiled for."""

    def ceilings(self) -> Speeds:
        """What it can do at most. Raises Error."""

    def class_of(self, region: Graph) -> str | None:
        """Regions of a class share what is found; None where there is nothing to choose."""

    def tuned(self, region: Graph) -> Tuned | None:
        """Try what a region's kernel leaves open; None where that is nothing. Raises Error."""

    def fitted(self, speeds: Speeds) -> Speeds:
        """The speeds that explain best what was measured so far, given the ceilings."""

    def rates(self, speeds: Speeds) -> str:
        """Its speeds, for people."""
