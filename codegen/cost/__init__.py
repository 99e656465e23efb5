"""What kernels do and how long it takes: counted in their loops, predicted from speeds."""
