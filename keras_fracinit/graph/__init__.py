"""What a model is made of: its kernels, and what precedes and follows each."""
