"""How far FSDP's gradients in bf16 are from a sum in float32; see test_fsdp.

A program for two ranks, `reduced OUT POLICY MICRO_BATCHES…`; POLICY is `ours` or `accelerate`. The
reference are gradients of one micro-batch at a time, added up in float64.
"""

import json
import os
import sys
from pathlib import Path

import torch
from tests.training.small import Rows, model, trainer

from moxin_recipes.recipe.trainers import sharded
from moxin_recipes.training import sharding

LABELS = 1000  # what each loss is divided by, whatever the step


def gradients(out: Path, policy: str, rows: Rows, accumulate: int) -> dict[str, torch.Tensor]:
    """The gradients of all steps, added up; the weights stay as they are."""
    pretrainer = trainer(
        out,
        rows,
        model(),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulate,
        bf16=True,
        max_grad_norm=0,
        learning_rate=0,
        weight_decay=0,
        accelerator_config=sharded(None) if policy == "ours" else None,
    )
    pretrainer._get_num_items_in_batch = lambda *_: torch.tensor(LABELS)  # type: ignore[method-assign]
    if policy == "ours":
        sharding.sum_in_float32(pretrainer)
    found: dict[str, torch.Tensor] = {}

    def look(*_: object) -> bool:
        for name, parameter in pretrainer.model.named_parameters():
            gradient = parameter.grad.full_tensor()
            assert gradient.dtype == torch.float32  # the weights' own
            found[name] = found.get(name, 0) + gradient.double()
        return True

    pretrainer.guard.allows = look  # type: ignore[method-assign, assignment]
    pretrainer.train()
    return found


def main() -> None:
    """Writes OUT/POLICY.json: micro-batches → distance to the reference over its norm."""
    out, policy = Path(sys.argv[1]), sys.argv[2]
    results = {}
    for count in sys.argv[3:]:
        rows = Rows(2 * int(count))
        wanted = gradients(out, "ours", rows, 1)
        found = gradients(out, policy, rows, int(count))
        distance = sum(float((found[name] - wanted[name]).square().sum()) for name in wanted)
        norm = sum(float(total.square().sum()) for total in wanted.values())
        results[count] = (distance / norm) ** 0.5
    if os.environ["RANK"] == "0":
        (out / f"{policy}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
