"""How the machine's cores are shared among the devices that a plan is bound to."""

import os
from collections.abc import Sequence

from ir.command import Error
from runtime.binding import Physical


def share_out(bound: Sequence[Physical], threads: int | None) -> list[int]:
    """Threads of each device, one at least; in all `threads`, or one per core.

    Raises Error for less than one thread.
    """
    if threads is not None and threads < 1:
        raise Error(f"--threads {threads}: expected at least 1")
    total = threads or len(os.sched_getaffinity(0))
    count = len(bound)
    return [max(1, total * (place + 1) // count - total * place // count) for place in range(count)]
