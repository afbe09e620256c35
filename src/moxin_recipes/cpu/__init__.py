"""What training does on a CPU only: attention in blocks, rollouts, GRPO with both, kept memory.

On other devices each of them leaves the libraries' own way as it is.
"""
