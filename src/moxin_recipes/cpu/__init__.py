"""What training does on a CPU only: attention by document, norms as one operation, rollouts, GRPO with both, kept memory.

On other devices each of them leaves the libraries' own way as it is.
"""
