"""Runs every benchmark of this folder, one after another."""

from bench import train_step

for benchmark in (train_step,):
    benchmark.main()
