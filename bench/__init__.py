"""Benchmarks: side by side in one run, ratios of medians; `make bench` runs them all."""
