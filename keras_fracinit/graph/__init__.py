"""Takes a model apart: its kernels, and what precedes and follows each of them."""
