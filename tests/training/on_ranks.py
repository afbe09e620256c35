"""What each rank of a launch reads and computes in pretraining, as JSON; see test_two_processes."""

import json
import os
import sys
from pathlib import Path

import torch
from tests.training.small import POISON, Rows, logged, model, trainer


def main() -> None:
    """`on_ranks OUT [CHECKPOINT_STEP]`: five steps of four rows; writes OUT/rank-R-of-N.json."""
    out = Path(sys.argv[1])
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    net = model()
    with torch.no_grad():
        net.model.embed_tokens.weight[POISON] = float("nan")
    rows = Rows(20, poisoned=(9,))  # in step 3; on two ranks only one of them reads it
    pretrainer = trainer(
        out,
        rows,
        net,
        gradient_accumulation_steps=2 // ranks,
        save_strategy="steps",
        save_steps=4,
        ddp_find_unused_parameters=False,
    )
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    first: dict[str, list[float]] = {}
    allows = pretrainer.guard.allows

    def watching(step: int, loss: float, norm: float) -> bool:
        if step == start + 1:
            first.update({n: p.grad.flatten().tolist() for n, p in net.named_parameters()})
        return allows(step, loss, norm)

    pretrainer.guard.allows = watching  # type: ignore[method-assign]
    pretrainer.start_step = start
    pretrainer.train(resume_from_checkpoint=str(out / f"checkpoint-{start}") if start else None)
    result = {
        "read": rows.read,
        "loss": logged(pretrainer, "loss"),
        "gradients": first,
        "skipped": pretrainer.guard.skipped,
        "weights": {n: p.flatten().tolist() for n, p in net.named_parameters()},
    }
    (out / f"rank-{rank}-of-{ranks}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
