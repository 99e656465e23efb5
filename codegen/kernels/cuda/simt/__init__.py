"""Contractions in f32, multiplied and added by the threads."""

from codegen.kernels.cuda.simt.sums import Sums
from codegen.kernels.cuda.simt.tile import best_tile

__all__ = ["Sums", "best_tile"]
