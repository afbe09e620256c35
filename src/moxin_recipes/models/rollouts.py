"""Completions of many prompts without a server: each different prompt is read once.

GRPO samples this way on a CPU only, and answers to held-out problems are made with it everywhere.
What it saves beside `generate`: the repeated prompts of a group, the copy of the whole cache for
each new token (it grows in place), rows that have ended, the random numbers of a draw from the
whole vocabulary (one a row is enough), and the bookkeeping of each step.
"""

from dataclasses import dataclass

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedConfig,
    PreTrainedModel,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.cache_utils import Cache, DynamicLayer

from moxin_recipes.recipe.strict import RecipeError

_ROOM = 64  # tokens that a cache has room for at first; it doubles
_ATTENTION = {"full_attention", "sliding_attention"}  # transformers' `layer_types`
_ALIVE = 0.75  # rows that have ended are dropped once fewer than this share go on


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; neutral values leave a step out."""

    temperature: float = 1.0  # 0 takes the likeliest token
    top_k: int = 0
    top_p: float = 1.0
    min_p: float | None = None

    def warpers(self) -> LogitsProcessorList:
        """transformers' own filters, in its order."""
        chosen = LogitsProcessorList()
        if self.top_k:
            chosen.append(TopKLogitsWarper(top_k=self.top_k))
        if self.top_p < 1.0:
            chosen.append(TopPLogitsWarper(top_p=self.top_p))
        if self.min_p is not None:
            chosen.append(MinPLogitsWarper(min_p=self.min_p))
        return chosen


class _GrowingLayer(DynamicLayer):
    """Keys and values (rows, heads, room, head size) of which `length` tokens are written."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, self.length = self.length, self.length + key_states.shape[-2]
        if not self.is_initialized or self.length > self.keys.shape[-2]:
            self._grow(key_states, value_states, start)
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def _grow(self, keys: torch.Tensor, values: torch.Tensor, filled: int) -> None:
        rows, heads, _, _ = keys.shape
        room = max(_ROOM, 2 * self.length)
        wider = [new.new_zeros(rows, heads, room, new.shape[-1]) for new in (keys, values)]
        if filled:
            wider[0][:, :, :filled] = self.keys[:, :, :filled]
            wider[1][:, :, :filled] = self.values[:, :, :filled]
        self.keys, self.values = wider
        self.is_initialized = True

    def get_seq_length(self) -> int:
        return self.length


def prove(config: PreTrainedConfig) -> None:
    """RecipeError for a model with layers that keep something else than keys and values."""
    if other := set(getattr(config, "layer_types", None) or ()) - _ATTENTION:
        raise RecipeError(
            f"`model_name_or_path`: layers of {', '.join(sorted(other))} are not sampled from; "
            "take a model whose layers are attention, or leave `problems_name` out"
        )


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: list[list[int]],
    longest: int,
    sampling: Sampling,
    ends: list[int],
    pad: int,
) -> list[list[int]]:
    """One completion a prompt, of at most `longest` tokens, up to and with the first of `ends`.

    Equal prompts are read once. The draws come from torch's default generator. RecipeError where
    `prove` has one.
    """
    config = model.config.get_text_config(decoder=True)
    prove(config)
    places = {tuple(prompt): None for prompt in prompts}
    order = {prompt: place for place, prompt in enumerate(places)}
    width = max(len(prompt) for prompt in order)
    device = model.device
    ids = torch.full((len(order), width), pad, device=device)
    seen = torch.zeros(len(order), width + longest, dtype=torch.bool, device=device)
    for place, prompt in enumerate(order):
        ids[place, width - len(prompt) :] = torch.tensor(prompt, device=device)
        seen[place, width - len(prompt) :] = True
    cache = Cache(layers=[_GrowingLayer() for _ in range(config.num_hidden_layers)])
    logits = model(
        input_ids=ids,
        attention_mask=seen[:, :width].long(),
        position_ids=(seen[:, :width].cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    rows = torch.tensor([order[tuple(prompt)] for prompt in prompts], device=device)
    _select(cache, rows)
    said = _decode(model, cache, logits[rows], seen[rows], width, longest, sampling, ends)
    return [row.tolist() for row in said]


def _decode(
    model: PreTrainedModel,
    cache: Cache,
    logits: torch.Tensor,
    seen: torch.Tensor,
    width: int,
    longest: int,
    sampling: Sampling,
    ends: list[int],
) -> list[torch.Tensor]:
    """The tokens of each row of `logits` (rows, vocabulary), which follow `width` read ones."""
    total = len(logits)
    device = logits.device
    said = torch.empty(total, longest, dtype=torch.long, device=device)
    lengths = torch.full((total,), longest, device=device)
    # The row of `said` that each row of the cache goes on with.
    alive = torch.arange(total, device=device)
    going = torch.ones(total, dtype=torch.bool, device=device)
    warpers, stop = sampling.warpers(), torch.tensor(ends, device=device)
    for step in range(longest):
        tokens = draw(logits.float(), sampling.temperature, warpers)
        said[alive, step] = tokens
        ended = torch.isin(tokens, stop) & going
        lengths[alive[ended]] = step + 1
        going &= ~ended
        if step + 1 == longest or not going.any():
            break
        if going.float().mean() < _ALIVE:
            _select(cache, going)
            alive, tokens, seen = alive[going], tokens[going], seen[going]
            going = going[going]
        read = seen[:, : width + step + 1].long()
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=read,
            position_ids=read.sum(1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return [row[:length] for row, length in zip(said, lengths.tolist(), strict=True)]


def draw(logits: torch.Tensor, temperature: float, warpers: LogitsProcessorList) -> torch.Tensor:
    """One token a row from the softmax of `logits` (rows, vocabulary), one random number each."""
    if temperature == 0.0:
        return logits.argmax(-1)
    if temperature != 1.0:
        logits = logits / temperature
    logits = warpers(None, logits)
    total = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    point = torch.rand_like(total[:, -1:]) * total[:, -1:]
    return torch.searchsorted(total, point, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def _select(cache: Cache, rows: torch.Tensor) -> None:
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[rows], layer.values[rows]
