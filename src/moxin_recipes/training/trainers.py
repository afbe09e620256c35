"""The Trainer subclasses: packed rows in a fixed order, for pretraining and for SFT."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Trainer
from trl import SFTTrainer


def stack(rows: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Rows of one length → a batch (rows, length) of ids, labels and positions; no mask."""
    return {
        key: torch.stack([torch.as_tensor(row[key]) for row in rows])
        for key in ("input_ids", "labels", "position_ids")
    }


class PretrainTrainer(Trainer):
    """Reads its dataset from first to last; the dataset decides the order.

    Documents are isolated by their positions alone, which needs the key–value cache off.
    """

    def __init__(self, **options: Any) -> None:
        options["args"].train_sampling_strategy = "sequential"
        options["args"].remove_unused_columns = False
        options["args"].use_cache = False
        super().__init__(data_collator=stack, **options)


class PackedSFTTrainer(SFTTrainer):
    """TRL's SFTTrainer on rows that are packed, masked and ordered already.

    The loss is the Trainer's own (cross-entropy over the answer tokens of the global batch); TRL's
    version adds entropy and accuracy of each step, at the price of a second pass over the logits.
    """

    def __init__(self, **options: Any) -> None:
        options["args"].train_sampling_strategy = "sequential"
        options["args"].remove_unused_columns = False
        options["args"].use_cache = False
        options["args"].dataset_kwargs = {"skip_prepare_dataset": True}
        super().__init__(data_collator=stack, **options)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy summed over the labels of the global batch, divided by their number."""
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)
