"""Benchmarks run contenders side by side and report ratios of medians; `make bench` runs all."""
