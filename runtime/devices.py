"""From a plan to the executor for the kind of device that it was built for."""

from pathlib import Path

from ir.command import Error
from ir.plan import Plan
from runtime.binding import bind, kind
from runtime.cuda.driver import Driver
from runtime.cuda.executor import CudaExecutor
from runtime.executor import Executor


def open_executor(
    plan: Plan, directory: Path, *, binding: str | None = None, threads: int | None = None
) -> Executor:
    """A checked plan, whose files lie in `directory`, ready to run on this machine.

    `binding` as "cpu:0,cpu:1" instead of the plan's own; `threads` of all CPU devices together, by
    default one per core. Raises Error for a binding or a file that does not fit the plan or the
    machine, DoesNotFit for lack of memory.
    """
    if kind(plan) == "cuda":
        if threads is not None:
            raise Error(f"--threads {threads}: the plan runs on GPUs; expected no --threads")
        return CudaExecutor(plan, directory, bind(plan, binding), Driver())
    # Machines that run plans on GPUs need not have what loads kernels for CPUs.
    from runtime.cpu.executor import CpuExecutor

    return CpuExecutor(plan, directory, bind(plan, binding), threads)
