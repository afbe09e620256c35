"""Attention of packed rows on a CPU: each document by itself, a block of queries at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, _softmax_backward_data
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_by_document"
_QUERIES = 64  # at a time: few products with keys to come, and the weights fit in the cache
_KEYS = 512  # up to so many, the backward pass has the weights; otherwise it computes them again


def use_documents(model: PreTrainedModel, device: torch.device) -> None:
    """Has `model` attend by document where it trains on a CPU with SDPA.

    A mask that keeps documents apart has SDPA multiply the whole square there. Nothing of this is
    saved with the model.
    """
    if device.type == "cpu" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def _starts_or_mask(**given: Any) -> Tensor | None:
    """Returns which tokens begin a document, (rows, length), or else what SDPA takes.

    Only causality and documents may decide what a token sees: no padding, no window shorter than
    the row, no keys of earlier calls, no mask function of the caller's; and nothing is dropped.
    """
    rows, length, window = given["batch_size"], given["q_length"], given.get("local_size")
    if (
        given["kv_length"] != length
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
    else:
        with torch.autocast("cpu", enabled=False):
            attended, _ = sdpa_attention_forward(
                module, *exact, attention_mask, scaling=scaling, **options
            )
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
    q, k, v = _tokens(query), _tokens(key), _tokens(value)
    attended, kept = q.new_empty(q.shape), q.new_empty(_room(query))
    with torch.autocast("cpu", enabled=False):
        for block in _blocks(starts, q.shape[1]):
            weights = _weights(_by_head(q[block.queries], k), k, block, scale, kept)
            _put(attended[block.queries], weights @ v[block.keys].transpose(0, 1))
    return attended.view(*starts.shape, *q.shape[1:]), kept


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
    q, k, v, g = _tokens(query), _tokens(key), _tokens(value), gradient.flatten(0, 1)
    of_q = q.new_empty(q.shape)
    of_k, of_v = (x.new_zeros(x.transpose(0, 1).shape) for x in (k, v))
    with torch.autocast("cpu", enabled=False):
        for block in _blocks(starts, q.shape[1]):
            queries, of_block = _by_head(q[block.queries], k), _by_head(g[block.queries], k)
            if block.kept:
                weights = kept[block.kept].view(len(of_k), queries.shape[1], -1)
            else:
                weights = _weights(queries, k, block, scale, kept)
            of_v[:, block.keys].baddbmm_(weights.mT, of_block)
            of_weights = of_block @ v[block.keys].permute(1, 2, 0)
            of_weights = _softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(scale)
            of_k[:, block.keys].baddbmm_(of_weights.mT, queries)
            _put(of_q[block.queries], of_weights @ k[block.keys].transpose(0, 1))
    by_token = (of_q, of_k.transpose(0, 1), of_v.transpose(0, 1))
    return tuple(x.reshape(*starts.shape, *x.shape[1:]) for x in by_token)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Block:
    queries: slice  # of the tokens of all rows
    keys: slice
    kept: slice | None  # where its weights are kept


def _blocks(starts: Tensor, heads: int) -> Iterator[_Block]:
    """Yields the blocks of queries of each document."""
    firsts, at = starts.flatten().nonzero().flatten().tolist(), 0
    for first, last in zip(firsts, [*firsts[1:], starts.numel()], strict=True):
        for start in range(first, last, _QUERIES):
            end = min(start + _QUERIES, last)
            size = heads * (end - start) * (end - first) if end - first <= _KEYS else 0
            kept = slice(at, at + size) if size else None
            yield _Block(slice(start, end), slice(first, end), kept)
            at += size


def _room(query: Tensor) -> int:
    """Returns the most weights that are kept."""
    rows, heads, length, _ = query.shape
    return rows * heads * length * min(length, _KEYS)


def _tokens(heads: Tensor) -> Tensor:
    """(rows, heads, length, width) as (rows × length, heads, width)."""
    return heads.transpose(1, 2).flatten(0, 1)


def _by_head(tokens: Tensor, keys: Tensor) -> Tensor:
    """Tokens (tokens, heads, width) as (heads of a key, tokens × their queries, width)."""
    of_keys = tokens.view(len(tokens), keys.shape[1], -1, tokens.shape[2])
    return of_keys.transpose(0, 1).flatten(1, 2)


def _put(tokens: Tensor, by_head: Tensor) -> None:
    """Writes what `_by_head` returns to the tokens that it has from."""
    of_keys = tokens.view(len(tokens), len(by_head), -1, tokens.shape[2])
    of_keys.copy_(by_head.view(of_keys.transpose(0, 1).shape).transpose(0, 1))


def _weights(queries: Tensor, k: Tensor, block: _Block, scale: float, kept: Tensor) -> Tensor:
    """Returns the weights of a block (heads of a key, tokens × their queries, keys)."""
    keys, length = k[block.keys].permute(1, 2, 0), block.queries.stop - block.queries.start
    products = torch.baddbmm(queries.new_empty(()), queries, keys, beta=0, alpha=scale)
    own = products.view(len(products), length, -1, products.shape[2])[..., -length:]
    ahead = torch.ones(length, length, dtype=torch.bool).triu_(1)
    own.masked_fill_(ahead[:, None], -torch.inf)
    out = kept[block.kept].view(products.shape) if block.kept else products
    weights: Tensor = torch.softmax(products, -1, out=out)
    return weights


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
