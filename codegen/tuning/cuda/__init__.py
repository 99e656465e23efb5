"""What GPUs can do at most, and the best tiles of their kernels, by timing them."""
