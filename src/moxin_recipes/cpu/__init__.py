"""What runs on a CPU only; on GPUs the libraries do it."""
