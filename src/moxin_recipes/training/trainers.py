"""The Trainer subclasses: packed rows in a fixed order, for pretraining and for SFT."""

from collections.abc import Callable, Iterator, Mapping
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

from moxin_recipes.cpu.attention import use_blocks
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training.loss import fuse_loss, places
from moxin_recipes.training.steps import StepGuard

Collator = Callable[[list[Mapping[str, Any]]], dict[str, Any]]


def stack(rows: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Rows of one length → a batch (rows, length) of ids, labels and positions; no mask."""
    return {
        key: torch.stack([torch.as_tensor(row[key]) for row in rows])
        for key in ("input_ids", "labels", "position_ids")
    }


def end_to_end(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The same rows as one, (1, rows × length): the first token of a row is no label.

    With the bounds of its documents and the longest one's length. Without them transformers looks
    for them in every layer, and waits for the device twice each time.
    """
    batch = {key: value.flatten()[None] for key, value in stack(rows).items()}
    bounds, longest = prepare_fa_kwargs_from_position_ids(batch["position_ids"])
    return {
        **batch,
        **dict(zip(("cu_seq_lens_q", "cu_seq_lens_k"), bounds, strict=True)),
        **dict(zip(("max_length_q", "max_length_k"), map(int, longest), strict=True)),
    }


def collator(model: PreTrainedModel) -> Collator:
    """`stack`, or `end_to_end` for flash attention.

    transformers gives its kernels the bounds of documents for a batch of one row only
    (`_is_packed_sequence`); in others they would attend to each other. SDPA's time grows with the
    square of a row.
    """
    return end_to_end if is_flash_attention_requested(model.config) else stack


def with_answers(collate: Collator) -> Collator:
    """`collate`, and the places that have a loss: prompts and padding skip the head."""

    def collated(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
        batch = collate(rows)
        return {**batch, "answers": places(batch["labels"])}

    return collated


class _From(Sampler[int]):
    """The places from `start` to the end of a dataset, in order."""

    def __init__(self, start: int, length: int) -> None:
        self._start, self._length = start, length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._start, self._length))

    def __len__(self) -> int:
        return self._length  # of the whole training, so that its steps are counted as ever


class PretrainTrainer(Trainer):
    """Reads its dataset from first to last; the dataset decides the order.

    - Documents are isolated by their positions alone, which needs the key–value cache off.
    - `start_step` is the step of the checkpoint that training goes on from: reading begins at its
      place, where the Trainer by itself would count through all the batches before.
    - A step that `guard` does not allow changes nothing, on any rank: without gradients an
      optimizer touches neither weights nor its state. The learning rate moves on with the step.
    - The guard's question is the one time in a step that the processor waits for the device.
    - `z_loss` above 0 adds that much of it to the loss.
    """

    def __init__(self, *, max_skipped_steps: int = 100, z_loss: float = 0, **options: Any) -> None:
        args = options["args"]
        args.train_sampling_strategy = "sequential"
        args.remove_unused_columns = False
        args.use_cache = False
        args.ignore_data_skip = True
        args.logging_nan_inf_filter = False  # it waits for the device; see `training_step`
        use_blocks(options["model"], args.device)
        if not args.use_liger_kernel:  # it brings its own, for GPUs
            fuse_loss(options["model"], z_loss)
        super().__init__(data_collator=collator(options["model"]), **options)
        if self.get_cp_size() > 1:
            raise RecipeError(
                "`accelerate_config`: context parallelism attends across documents (its ring "
                "knows no mask but the causal one); use a file without it"
            )
        self.start_step = 0
        self.guard = StepGuard(max_skipped_steps)
        self.add_callback(self.guard)
        self.add_callback(_Progress())
        self._step_loss = torch.zeros((), device=self.args.device)

    def get_train_dataloader(self) -> Any:
        """With a generator of its own: starting to read draws from it, at any step."""
        loader = super().get_train_dataloader()
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        data = self.train_dataset if train_dataset is None else train_dataset
        a_step = self.get_total_train_batch_size(self.args)
        return _From(self.start_step * a_step, len(data))

    def training_step(self, *inputs: Any, **options: Any) -> torch.Tensor:
        """Forward and backward of one micro-batch; its loss counts towards its step's.

        One that is no number counts as the average so far in the log: what the Trainer's
        `logging_nan_inf_filter` does, without a look at it.
        """
        loss: torch.Tensor = super().training_step(*inputs, **options)
        self._step_loss += loss
        logged = 1 + self.state.global_step - self._globalstep_last_logged
        return torch.where(loss.isfinite(), loss, self._tr_loss / logged)

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """Comes once a step, after the gradients are summed and before they are used."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        mean = self.accelerator.reduce(self._step_loss, "mean")
        self._step_loss = torch.zeros_like(self._step_loss)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if not self.guard.allows(self.state.global_step + 1, float(mean), float(whole)):
            model.zero_grad(set_to_none=True)
        return norm


class _Progress(TrainerCallback):
    """`epoch` in the logs as the share of the training, whichever step it went on from."""

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature of a callback)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        state.epoch = state.global_step / state.max_steps


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
        use_blocks(options["model"], options["args"].device)
        collate = collator(options["model"])
        if not options["args"].use_liger_kernel:  # it knows no `answers`
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
        """Cross-entropy summed over the labels of the global batch, divided by their number."""
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)
