"""What this processor is able to do."""

import re
from contextlib import suppress
from pathlib import Path

from ir.command import Error
from ir.plan import Plan


def require(plan: Plan) -> None:
    """Raise Error where kernels have vector instructions that this processor lacks."""
    vectors = set(plan.target.get("vectors", "").split())
    if lacking := sorted(vectors - flags()):
        raise Error(
            f"the plan was built for {plan.target['mcpu']}, and this processor lacks "
            f"{', '.join(lacking)}; build it on this machine, or with --mcpu"
        )


def flags() -> set[str]:
    """Names of its instructions, as Linux has them for x86; none for others."""
    with suppress(OSError):
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
        return set(found[1].split()) if found else set()
    return set()
