"""Trainers, optimizers, checkpoints and the progress display."""
