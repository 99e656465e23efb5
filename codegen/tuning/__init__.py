"""What kernels for CPUs leave open: sizes by a formula on caches and registers, or measured."""
