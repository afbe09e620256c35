"""TRL's GRPOTrainer with two of its hooks done faster where there is no GPU."""

from typing import Any

import torch
from transformers import DynamicCache
from trl import GRPOTrainer

from moxin_recipes.models.rollouts import Sampling, sample

# What TRL's batch has of text; each (rows,), (rows, tokens of the prompt or completion) or ().
_OF_TEXT = {
    *("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask"),
    *("advantages", "num_items_in_batch", "old_per_token_logps", "ref_per_token_logps"),
}


class CpuGRPOTrainer(GRPOTrainer):
    """The same loss on the same kind of samples; elsewhere than on a CPU it is TRL's, untouched.

    Sampling and learning read each prompt of a group once (`rollouts.sample`, `by_prompt`).
    Log-probabilities come from plain logits of the completion's positions; off Triton, TRL's fused
    head works out the prompt's too. Completions that have no gradient are left out of the step.
    TRL itself makes no reference pass at beta 0, and no pass for the old log-probabilities where a
    batch is used for one step only.
    """

    def _plain(self) -> bool:
        """Whether this run is one that the fast ways are made for."""
        model = self.accelerator.unwrap_model(self.model)
        return (
            self.accelerator.device.type == "cpu"
            and not self.use_vllm
            and not self.use_transformers_continuous_batching
            and not self.is_fsdp_enabled
            and not self.is_deepspeed_enabled
            and not self.args.gradient_checkpointing
            and not self.args.generation_kwargs
            and self.repetition_penalty == 1.0
            and not self.aux_loss_enabled
            and model.config._attn_implementation == "sdpa"
        )

    def _is_alone(self) -> bool:
        """Whether no other process has to run as many passes, of as many rows, as this one."""
        return self.accelerator.num_processes == 1  # type: ignore[no-any-return]

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        """Completion ids of each prompt, up to and with their end; no log-probabilities."""
        if not self._plain() or images is not None or multimodal_fields:
            return super()._generate_single_turn(  # type: ignore[no-any-return]
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        # In bfloat16 the weights are cast once, and not for each token by the model's own autocast.
        with self.accelerator.autocast():
            completions = sample(
                self.accelerator.unwrap_model(self.model),
                prompt_ids,
                self.max_completion_length,
                Sampling(self.temperature, self.top_k or 0, self.top_p, self.min_p),
                self.eos_token_ids,
                self._tokenizer.pad_token_id,
            )
        return completions, None

    def _compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor | Any]
    ) -> torch.Tensor:
        """TRL's loss, of the completions that have a gradient.

        In groups without variance no completion has an advantage, and without a KL term or a bonus
        for entropy that is all that its tokens add to the sum; `num_items_in_batch`, which divides
        the sum, still counts them. Entropy and clipping in the log are of what is left.
        """
        summed = self.loss_type == "dapo" and self.top_entropy_quantile == 1.0
        alone = not self.beta and not self._entropy_bonus_enabled and inputs.keys() <= _OF_TEXT
        if self._plain() and summed and alone and self._is_alone():
            inputs = with_gradient(inputs)
        return super()._compute_loss(model, inputs)  # type: ignore[no-any-return]

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **more: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """(log-probabilities, entropies or None, None), each (rows, `logits_to_keep`).

        Padding has zeros, as in TRL.
        """
        if not self._plain() or any(
            value is not None and value is not False for value in more.values()
        ):
            return super()._get_per_token_logps_and_entropies(  # type: ignore[no-any-return]
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                **more,
            )
        parts = []
        for ids, mask in zip(
            input_ids.split(batch_size or len(input_ids)),
            attention_mask.split(batch_size or len(input_ids)),
            strict=True,
        ):
            with self.accelerator.autocast():
                read = by_prompt if self._is_alone() else by_row
                logits = read(model, ids, mask, logits_to_keep)
            parts.append(
                self._scored(
                    logits, ids[:, -logits_to_keep:], mask[:, -logits_to_keep:], compute_entropy
                )
            )
        logps, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
        return logps, entropies if compute_entropy else None, None

    def _scored(
        self, logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, with_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each token of `ids` and, where wanted, the entropy before it."""
        logits = logits.float() if self.temperature == 1.0 else logits.float() / self.temperature
        targets = ids.masked_fill(mask == 0, -100).flatten()
        logps = -torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets, ignore_index=-100, reduction="none"
        )
        entropies = torch.zeros_like(logps)
        if with_entropy:
            learned = self._entropy_bonus_enabled  # or else it is a number for the log only
            with torch.set_grad_enabled(learned and torch.is_grad_enabled()):
                spreads = (row.log_softmax(-1) for row in logits)  # one after the other: in cache
                entropies = torch.stack([-(one.exp() * one).sum(-1) for one in spreads])
                entropies = entropies.masked_fill(mask == 0, 0.0)
        return logps.view_as(ids), entropies.view_as(ids)


def by_row(
    model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, count: int
) -> torch.Tensor:
    """Logits (rows, `count`, vocabulary) of the last `count` tokens of `ids` (rows, tokens)."""
    before = torch.arange(ids.shape[1] - count - 1, ids.shape[1] - 1)
    read = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=before)
    return read.logits  # type: ignore[no-any-return]


def by_prompt(
    model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, count: int
) -> torch.Tensor:
    """Logits as those of `by_row`.

    Equal prompts are read once, but for their last token: it goes with the completion, whose
    first token it tells. The gradient goes through the keys and values that the rows share.
    """
    last = ids.shape[1] - count - 1
    if not last:
        return by_row(model, ids, mask, count)
    both = torch.stack([ids[:, :last], mask[:, :last]])
    (prompts, seen), rows = torch.unique(both, dim=1, return_inverse=True)
    if len(prompts) == len(ids):
        return by_row(model, ids, mask, count)
    shared = DynamicCache()
    model(
        input_ids=prompts,
        attention_mask=seen,
        past_key_values=shared,
        use_cache=True,
        logits_to_keep=1,
    )
    shared.batch_select_indices(rows)
    return model(  # type: ignore[no-any-return]
        input_ids=ids[:, last:-1],
        attention_mask=mask[:, :-1],
        past_key_values=shared,
        use_cache=True,
    ).logits


def with_gradient(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch of GRPO without rows whose advantage is 0, and without columns of padding alone.

    The first one stays where none has an advantage, or no completion has a token that counts.
    """
    rows = _some(inputs["advantages"] != 0)
    columns = {
        name: _some(inputs[f"{name}_mask"][rows].any(0)) for name in ("prompt", "completion")
    }
    kept = {}
    for name, value in inputs.items():
        if value.dim():
            value = value[rows]
        if value.dim() == 2:
            value = value[:, columns["prompt" if name.startswith("prompt") else "completion"]]
        kept[name] = value
    return kept


def _some(chosen: torch.Tensor) -> torch.Tensor:
    """A choice that is not empty: the first one where it was."""
    chosen[0] |= not chosen.any()
    return chosen
