"""Runs every benchmark of this folder, one after another."""

from bench import grpo_step, train_step

for benchmark in (train_step, grpo_step):
    benchmark.main()
