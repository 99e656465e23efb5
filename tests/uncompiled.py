"""In the place of compiled kernels: files that hold nothing to run."""

from collections.abc import Mapping

import pytest

import codegen.assemble
from codegen.cache import Cache, Compiled, Variant
from codegen.region import buffers
from codegen.targets import Cuda, Target
from ir.plan import Launch
from ir.text import parse


def without_compiling(
    texts: Mapping[str, str], target: Target, cache: Cache | None
) -> tuple[dict[str, Compiled], int]:
    """What `compile_all` gives."""
    return {key: nothing(text, target) for key, text in texts.items()}, 0


def nothing(text: str, target: Target) -> Compiled:
    """Files that show for which region and machine they stand."""
    if not isinstance(target, Cuda):
        return Compiled({".so": text.encode()}, 0, per_thread=64)
    region = parse(text)
    count = len(buffers(region))
    launch = Launch(
        symbol="kernel_kernel",
        grid=(1, 1, 1),
        block=(32, 1, 1),
        arguments=tuple(range(-1, count)),
        shared=0,
        dynamic=0,
        registers=32,
    )
    files = {f".{arch}.cubin": f"{arch} {text}".encode() for arch in target.arches}
    sources = {f".{arch}.cu": text.encode() for arch in target.arches}
    variants = dict.fromkeys(target.arches, Variant((launch,), scratch=64))
    return Compiled(files | sources, variants=variants)


def skip_compiling(patch: pytest.MonkeyPatch) -> None:
    """Let every build do without."""
    patch.setattr(codegen.assemble, "compile_all", without_compiling)
