"""`python -m bench` runs every benchmark of this folder; `python -m bench NAME` runs one.

What computes has one thread; the Hub's server and its client have a process each.
"""

import importlib
import os
import sys

import torch

BENCHMARKS = (
    "tokens",
    "train_step",
    "optimizers",
    "grpo_step",
    "checkpoints",
    "contaminated_rows",
    "hub_transfer",
    "evaluation",
    "answers",
)

for library in ("HF_HUB", "HF_DATASETS"):  # their bars would hide the figures
    os.environ[f"{library}_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"  # the local Hub has LFS
torch.set_num_threads(1)

for name in sys.argv[1:2] or BENCHMARKS:
    if name not in BENCHMARKS:
        sys.exit(f"no benchmark {name}; there are {', '.join(BENCHMARKS)}")
    print(f"\n{name}", flush=True)
    importlib.import_module(f"bench.{name}").main()
