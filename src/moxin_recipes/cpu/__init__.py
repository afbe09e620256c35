"""What training does on a CPU only: attention by document, norms in one, GRPO's hooks, kept memory.

GRPO has the last two of them. On other devices each leaves the libraries' own way as it is.
"""
