"""From region programs to shared libraries, several at a time.

Each process imports the compiler once and takes one kernel after another. The region travels as
text, the library comes back as bytes; nothing is pickled but these.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import SIG_DFL, SIGINT, signal
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from codegen.cache import Cache, Compiled
from ir.command import Error
from ir.text import parse

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target


def compile_all(
    regions: Mapping[str, str], target: "Target", cache: Cache | None
) -> tuple[dict[str, Compiled], int]:
    """The kernels by key, and how many the cache held. Raises Error where one cannot be made."""
    found = {key: cache.get(key) if cache else None for key in regions}
    kernels = {key: kernel for key, kernel in found.items() if kernel}
    cached = len(kernels)
    missing = {key: text for key, text in regions.items() if key not in kernels}
    for key, kernel in _compile_missing(missing, target):
        if cache:
            cache.put(key, kernel)
        kernels[key] = kernel
    return {key: kernels[key] for key in regions}, cached


def _compile_missing(
    regions: Mapping[str, str], target: "Target"
) -> Iterator[tuple[str, Compiled]]:
    if not regions:
        return
    compiler = _c_compiler()
    workers = min(len(regions), len(os.sched_getaffinity(0)))
    with (
        _progress(len(regions)) as advance,
        ProcessPoolExecutor(workers, get_context("spawn"), _follow_parent) as pool,
    ):
        futures = {
            pool.submit(compile_one, text, target, compiler): key for key, text in regions.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], _result(future)
                advance()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _result(future: "Future[Compiled]") -> Compiled:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise Error(
            "a compiling process died; expected enough memory for TVM, 1 GB each"
        ) from error


def compile_one(text: str, target: "Target", compiler: str) -> Compiled:
    """Compile one region program. Raises Error where no rule takes it, or TVM refuses the code."""
    # Only the processes that compile pay for these imports.
    import tvm

    from codegen.kernels import build

    built = build(parse(text), target)
    module = tvm.IRModule({"kernel": built.function})
    with TemporaryDirectory(prefix="tandem") as folder:
        path = Path(folder) / "kernel.so"
        try:
            executable = tvm.compile(module, target=target.tvm())
            executable.export_library(str(path), cc=compiler, workspace_dir=folder)
        except Exception as error:
            # Whatever TVM or the linker raises: the region says which kernel it was.
            raise Error(f"TVM cannot compile this region: {error}\n{text}") from None
        return Compiled(path.read_bytes(), built.scratch)


def _follow_parent() -> None:
    """End at once on Ctrl-C, which reaches the whole group, and when the first process ends."""
    signal(SIGINT, SIG_DFL)
    Thread(target=_end_with, args=[parent_process()], daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _c_compiler() -> str:
    names = ("cc", "gcc", "clang")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise Error(
            f"no C compiler among {', '.join(names)}; expected one, to link kernels "
            "(on Debian: apt install gcc)"
        )
    return found


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, elsewhere a line for every tenth kernel."""
    if not sys.stderr.isatty():
        done = 0

        def line() -> None:
            nonlocal done
            done += 1
            if done % 10 == 0 or done == total:
                print(f"compiled {done} of {total} kernels", file=sys.stderr)

        yield line
        return
    columns = (TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
