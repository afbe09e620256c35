"""What runs on a CPU only: attention in blocks, rollouts, GRPO with both, kept memory.

Elsewhere each of them does nothing, and the libraries' own way is taken.
"""
