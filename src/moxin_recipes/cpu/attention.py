"""Attention of packed rows on a CPU: keys that come after a block of queries are left out."""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_in_blocks"
_BLOCKS = 4  # of 512 queries: 62 % of the products for 75 % of the time; 2 and 8 are slower


def use_blocks(model: PreTrainedModel, device: torch.device) -> None:
    """Has `model` attend in blocks where it trains on a CPU with SDPA.

    A mask that keeps documents apart has SDPA multiply the whole square there. Nothing of this is
    saved with the model.
    """
    if device.type == "cpu" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def _in_blocks(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`sdpa_attention_forward` (batch, heads, length, width) for a mask that is causal too.

    Autocast is left out: in bfloat16 the kernel's backward pass takes several times as long.
    """
    if torch.is_autocast_enabled("cpu"):
        whole = (query.float(), key.float(), value.float())
        with torch.autocast("cpu", enabled=False):
            attended, _ = _in_blocks(module, *whole, attention_mask, dropout, scaling, **options)
        return attended.to(query.dtype), None
    length = query.shape[2]
    if attention_mask is None or key.shape[2] != length:
        options |= {"dropout": dropout, "scaling": scaling}
        whole = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return whole[0], None
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    rows = -(-length // _BLOCKS)
    parts = [
        scaled_dot_product_attention(
            query[:, :, end - rows : end],
            key[:, :, :end],
            value[:, :, :end],
            attn_mask=attention_mask[:, :, end - rows : end, :end],
            dropout_p=dropout,
            scale=scaling,
        ).transpose(1, 2)
        for end in range(rows, length + rows, rows)
    ]
    return torch.cat(parts, 1), None


AttentionInterface.register(NAME, _in_blocks)
AttentionMaskInterface.register(NAME, sdpa_mask)
