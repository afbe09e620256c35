"""Benchmarks run contenders side by side and report medians and spread; `make bench` runs all.

Give a benchmark a quiet machine. `python -m bench NAME` runs one, in minutes; `train_step` and
`optimizers` take longest.
"""
