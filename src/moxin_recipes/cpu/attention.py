"""Attention of packed rows on a CPU: each document by itself, a block of queries at a time.

Short rows stay SDPA's: there a call for each block costs more than the whole square.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, _softmax_backward_data
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_by_document"
_SHORT = 256  # tokens of a row that SDPA takes as it is
_QUERIES = 64  # at a time: few products with keys to come, and the weights fit in the cache
_KEYS = 512  # up to so many, the backward pass has the weights; otherwise it computes them again


def use_documents(model: PreTrainedModel, device: torch.device) -> None:
    """Has a Mistral or Llama attend by document where it trains on a CPU with SDPA.

    A mask that keeps documents apart has SDPA multiply the whole square there. Nothing of this is
    saved with the model. Other models may have values of another width, or dropout by other names.
    """
    config = model.config
    ours = config.model_type in ("mistral", "llama") and config._attn_implementation == "sdpa"
    if device.type == "cpu" and ours:
        model.set_attn_implementation(NAME)


def _starts_or_mask(**given: Any) -> Tensor | None:
    """Returns which tokens begin a document, (rows, length), or else what SDPA takes.

    The row is long, and only causality and documents decide what a token sees: no padding, no
    window shorter than the row, no keys of earlier calls, no mask function of the caller's; and
    nothing is dropped.
    """
    rows, length, window = given["batch_size"], given["q_length"], given.get("local_size")
    if (
        length <= _SHORT
        or given["kv_length"] != length
        or given.get("attention_mask") is not None
        or (window is not None and window < length)
        or given.get("use_vmap")
        or getattr(given["config"], "attention_dropout", 0)
    ):
        mask: Tensor | None = sdpa_mask(**given)
        return mask
    row, place = torch.arange(rows)[:, None], torch.arange(1, length)
    goes_on = given["mask_function"](row, 0, place, place - 1).expand(rows, -1)
    return torch.cat([torch.ones(rows, 1, dtype=torch.bool), ~goes_on], 1)


def _by_document(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """`sdpa_attention_forward` (rows, heads, length, width), its mask from `_starts_or_mask`.

    Autocast is left out: in bfloat16 the kernels for a CPU take several times as long.
    """
    kind = torch.promote_types(query.dtype, torch.float32)
    exact = (query.to(kind), key.to(kind), value.to(kind))
    if attention_mask is not None and attention_mask.dim() == 2:
        attended = attend(*exact, attention_mask, scaling or query.shape[-1] ** -0.5)
    elif attention_mask is not None:
        masked: dict[str, Any] = {"attn_mask": attention_mask, "scale": scaling}
        with torch.autocast("cpu", enabled=False):
            attended = scaled_dot_product_attention(
                *exact, dropout_p=dropout, enable_gqa=True, **masked
            ).transpose(1, 2)
    else:
        options |= {"dropout": dropout, "scaling": scaling}
        with torch.autocast("cpu", enabled=False):
            attended, _ = sdpa_attention_forward(module, *exact, None, **options)
    return attended.to(query.dtype), None


def attend(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    """Returns attention (rows, length, heads, width) within documents.

    `query`, `key` and `value` are (rows, heads, length, width), with several heads of `query` for
    one of the others, `starts` is (rows, length), and `scale` multiplies their products. What the
    backward pass needs grows with the length, not with its square.
    """
    attended: Tensor = _attend(query, key, value, starts, scale)[0]
    return attended


@torch.library.custom_op("moxin::attend", mutates_args=())
def _attend(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Returns what `attend` does, and the weights of blocks with few keys, one after the other."""
    k, v, kept = _by_head(key), _by_head(value), query.new_empty(_room(query))
    q = _by_head(query, len(k))
    attended = torch.empty_like(q)
    with torch.autocast("cpu", enabled=False):
        for block in _blocks(starts, query.shape[1], query.shape[1] // len(k)):
            weights = _weights(q, k, block, scale, kept)
            torch.bmm(weights, v[:, block.keys], out=attended[:, block.queries])
    return _by_token(attended, query), kept


@torch.library.custom_op("moxin::attend_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    kept: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of `query`, `key` and `value`, each (rows, length, heads, width)."""
    k, v = _by_head(key), _by_head(value)
    q, g = _by_head(query, len(k)), _by_head(gradient.transpose(1, 2), len(k))
    of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    with torch.autocast("cpu", enabled=False):
        for block in _blocks(starts, query.shape[1], query.shape[1] // len(k)):
            queries, of_block, keys = q[:, block.queries], g[:, block.queries], k[:, block.keys]
            if block.kept:
                weights = kept[block.kept].view(len(k), queries.shape[1], -1)
            else:
                weights = _weights(q, k, block, scale, kept)
            of_v[:, block.keys].baddbmm_(weights.mT, of_block)
            of_weights = of_block @ v[:, block.keys].mT
            of_weights = _softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(scale)
            of_k[:, block.keys].baddbmm_(of_weights.mT, queries)
            torch.bmm(of_weights, keys, out=of_q[:, block.queries])
    return _by_token(of_q, query), _by_token(of_k, key), _by_token(of_v, value)


@dataclass(frozen=True)
class _Block:
    """Consecutive queries of a row, and the keys from the first one's document to the last one."""

    queries: slice  # of what `_by_head` returns
    keys: slice
    bias: Tensor  # (tokens, 1, last keys): -inf where a token does not see one of the last keys
    kept: slice | None  # where the weights are kept


def _blocks(starts: Tensor, heads: int, group: int) -> Iterator[_Block]:
    """Yields the blocks of all rows, with `heads` queries a token, `group` of them for one key."""
    place, at = torch.arange(starts.numel()), 0
    first = place.where(starts.flatten(), 0).cummax(0).values
    firsts, later = first.tolist(), torch.full((_QUERIES, _QUERIES), -torch.inf).triu_(1)
    for row in range(0, len(place), starts.shape[1]):
        for start in range(row, row + starts.shape[1], _QUERIES):
            end, begin = min(start + _QUERIES, row + starts.shape[1]), firsts[start]
            if begin == firsts[end - 1]:
                bias = later[: end - start, : end - start]
            else:  # another document begins here
                keys, queries = place[begin:end], slice(start, end)
                unseen = (keys > place[queries, None]) | (keys < first[queries, None])
                bias = torch.zeros(unseen.shape).masked_fill_(unseen, -torch.inf)
            size = heads * (end - start) * (end - begin) if end - begin <= _KEYS else 0
            kept = slice(at, at + size) if size else None
            at += size
            queries = slice(start * group, end * group)
            yield _Block(queries, slice(begin, end), bias[:, None], kept)


def _weights(q: Tensor, k: Tensor, block: _Block, scale: float, kept: Tensor) -> Tensor:
    """Returns the weights of a block, (heads of keys, tokens × queries of a key, keys)."""
    queries, keys = q[:, block.queries], k[:, block.keys].mT
    products = torch.baddbmm(queries.new_empty(()), queries, keys, beta=0, alpha=scale)
    tokens, _, last = block.bias.shape
    of_tokens = products.view(len(k), tokens, -1, products.shape[2])
    of_tokens[..., -last:].add_(block.bias)
    out = kept[block.kept].view(products.shape) if block.kept else products
    weights: Tensor = torch.softmax(products, -1, out=out)
    return weights


def _room(query: Tensor) -> int:
    """Returns the most weights that are kept."""
    rows, heads, length, _ = query.shape
    return rows * heads * length * min(length, _KEYS)


def _by_head(tensor: Tensor, keys: int | None = None) -> Tensor:
    """(rows, heads, length, width) as (heads of keys, rows × length × queries of a key, width)."""
    tokens = tensor.transpose(1, 2).flatten(0, 1)
    of_keys = tokens.view(len(tokens), keys or tokens.shape[1], -1, tokens.shape[2])
    return of_keys.transpose(0, 1).flatten(1, 2)


def _by_token(by_head: Tensor, like: Tensor) -> Tensor:
    """Returns what `_by_head` made of `like` as (rows, length, heads, width)."""
    rows, heads, length, width = like.shape
    of_keys = by_head.view(len(by_head), rows * length, -1, width).transpose(0, 1)
    return of_keys.reshape(rows, length, heads, width).contiguous()


@_attend.register_fake
def _(query: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return query.new_empty(query.transpose(1, 2).shape), query.new_empty(_room(query))


@_attend_backward.register_fake
def _(_: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.transpose(1, 2).shape) for x in tensors[:3])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
    gradients = _attend_backward(gradient, *ctx.saved_tensors, ctx.scale)
    return (*(x.transpose(1, 2) for x in gradients), None, None)


_attend.register_autograd(_backward, setup_context=_keep)
AttentionInterface.register(NAME, _by_document)
AttentionMaskInterface.register(NAME, _starts_or_mask)
