"""`python -m bench` runs every benchmark of this folder; `python -m bench NAME` runs one."""

import importlib
import os
import sys

BENCHMARKS = (
    "tokens",
    "train_step",
    "optimizers",
    "grpo_step",
    "resume",
    "checkpoints",
    "contaminated_rows",
    "hub_transfer",
    "evaluation",
    "answers",
)

os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # a bar a model would hide the figures

for name in sys.argv[1:2] or BENCHMARKS:
    if name not in BENCHMARKS:
        sys.exit(f"no benchmark {name}; there are {', '.join(BENCHMARKS)}")
    importlib.import_module(f"bench.{name}").main()
