"""Trainer subclasses for pretraining and SFT, which read packed rows in a fixed order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils.data import Sampler
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids
from transformers.utils.generic import is_flash_attention_requested
from trl import SFTTrainer

from moxin_recipes.cpu.attention import use_documents
from moxin_recipes.cpu.norm import fuse_norms
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training.loss import answer_positions, fuse_loss
from moxin_recipes.training.selective import checkpoint_selectively
from moxin_recipes.training.steps import StepGuard

Collator = Callable[[list[Mapping[str, Any]]], dict[str, Any]]


def stack(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Stacks rows of one length into a batch (rows, length) of ids, labels and positions."""
    return {
        key: torch.stack([torch.as_tensor(row[key]) for row in rows])
        for key in ("input_ids", "labels", "position_ids")
    }


def concatenate(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Joins rows into one row, (1, rows × length); the first token of each is no label.

    The batch has the bounds of its documents and the length of the longest one. Without them
    transformers computes them in every layer, and waits for the device twice each time.
    """
    batch = {key: value.flatten()[None] for key, value in stack(rows).items()}
    bounds, longest = prepare_fa_kwargs_from_position_ids(batch["position_ids"])
    return {
        **batch,
        **dict(zip(("cu_seq_lens_q", "cu_seq_lens_k"), bounds, strict=True)),
        **dict(zip(("max_length_q", "max_length_k"), map(int, longest), strict=True)),
    }


def collator(model: PreTrainedModel) -> Collator:
    """Returns `concatenate` for flash attention, and `stack` otherwise.

    transformers passes the bounds of documents to flash kernels only for a batch of one row
    (`_is_packed_sequence`). With more rows, documents would attend to each other. SDPA keeps rows
    apart, because its time grows with the square of a row's length.
    """
    return concatenate if is_flash_attention_requested(model.config) else stack


def with_answers(collate: Collator) -> Collator:
    """Returns `collate` with the answer positions added, so prompts and padding skip the head."""

    def collate_with_answers(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
        batch = collate(rows)
        return {**batch, "answers": answer_positions(batch["labels"])}

    return collate_with_answers


class _SequentialFrom(Sampler[int]):
    """Samples the indices from `start` to the end of a dataset, in order."""

    def __init__(self, start: int, length: int) -> None:
        self._start, self._length = start, length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._start, self._length))

    def __len__(self) -> int:
        return self._length  # the whole training's, so that the Trainer counts all its steps


class PretrainTrainer(Trainer):
    """Reads its dataset from first to last; the dataset decides the order.

    - Position ids alone isolate documents, which requires that the key–value cache is off.
    - `start_step` is the step of the checkpoint from which training resumes. Reading begins at its
      sequence, while the plain Trainer would iterate over all batches before it.
    - A step that `guard` does not allow changes nothing on any rank. Without gradients, an
      optimizer changes neither weights nor its state. The learning rate still advances.
    - The processor waits for the device once a step, for the guard.
    - `z_loss` above 0 is the weight of the z-loss.
    - `selective_checkpointing` takes the place of FSDP's own checkpointing.
    """

    def __init__(
        self,
        *,
        max_skipped_steps: int = 100,
        z_loss: float = 0,
        selective_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        args = options["args"]
        args.train_sampling_strategy = "sequential"
        args.remove_unused_columns = False
        args.use_cache = False
        args.ignore_data_skip = True
        args.logging_nan_inf_filter = False  # it waits for the device; see `training_step`
        use_documents(options["model"], args.device)
        fuse_norms(options["model"], args.device)
        if not args.use_liger_kernel:  # Liger has a fused loss of its own, for GPUs
            fuse_loss(options["model"], z_loss)
        super().__init__(data_collator=collator(options["model"]), **options)
        if self.get_cp_size() > 1:
            raise RecipeError(
                "`accelerate_config`: context parallelism attends across documents (its ring "
                "knows no mask but the causal one); use a file without it"
            )
        if selective_checkpointing:
            checkpoint_selectively(self.model)
            if self.is_fsdp_enabled:
                self.accelerator.state.fsdp_plugin.activation_checkpointing = False
        self.start_step = 0
        self.guard = StepGuard(max_skipped_steps)
        self.add_callback(self.guard)
        self.add_callback(_EpochAsShare())
        self._step_loss = torch.zeros((), device=self.args.device)

    def get_train_dataloader(self) -> Any:
        """Gives the loader a generator, because every start draws from one, at any step."""
        loader = super().get_train_dataloader()
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        data = self.train_dataset if train_dataset is None else train_dataset
        rows_per_step = self.get_total_train_batch_size(self.args)
        return _SequentialFrom(self.start_step * rows_per_step, len(data))

    def training_step(self, *inputs: Any, **options: Any) -> torch.Tensor:
        """Runs forward and backward of one micro-batch, and adds its loss to the step's loss.

        In the log, a loss that is not finite counts as the average so far. The Trainer's
        `logging_nan_inf_filter` does the same, but waits for the device.
        """
        loss: torch.Tensor = super().training_step(*inputs, **options)
        self._step_loss += loss
        logged = 1 + self.state.global_step - self._globalstep_last_logged
        return torch.where(loss.isfinite(), loss, self._tr_loss / logged)

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """Asks the guard; the Trainer calls this once a step, between backward and optimizer."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        mean = self.accelerator.reduce(self._step_loss, "mean")
        self._step_loss = torch.zeros_like(self._step_loss)
        full_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if not self.guard.allows(self.state.global_step + 1, float(mean), float(full_norm)):
            model.zero_grad(set_to_none=True)
        return norm


class _EpochAsShare(TrainerCallback):
    """Logs `epoch` as the share of training that is done, also after a resume."""

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature of a callback)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        state.epoch = state.global_step / state.max_steps


class PackedSFTTrainer(SFTTrainer):
    """TRL's SFTTrainer for rows that are already packed, masked and ordered.

    The loss is that of the plain Trainer: cross-entropy over the answer tokens of the global batch.
    TRL's loss adds entropy and accuracy of each step, which cost a second pass over the logits.
    """

    def __init__(self, **options: Any) -> None:
        options["args"].train_sampling_strategy = "sequential"
        options["args"].remove_unused_columns = False
        options["args"].use_cache = False
        options["args"].dataset_kwargs = {"skip_prepare_dataset": True}
        use_documents(options["model"], options["args"].device)
        fuse_norms(options["model"], options["args"].device)
        collate = collator(options["model"])
        if not options["args"].use_liger_kernel:  # Liger's loss takes no `answers`
            fuse_loss(options["model"])
            collate = with_answers(collate)
        super().__init__(data_collator=collate, **options)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Returns the mean cross-entropy over the labels of the global batch."""
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)
