"""Runs every benchmark of this folder, one after another."""

from bench import grpo_step, hub_transfer, resume, tokens, train_step

for benchmark in (tokens, train_step, grpo_step, hub_transfer, resume):
    benchmark.main()
