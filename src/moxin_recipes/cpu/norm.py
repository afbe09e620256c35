"""Norms of training on a CPU: one operation that keeps little, where transformers has six."""

import types
from typing import Any

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm


def fuse_norms(model: PreTrainedModel, device: torch.device) -> None:
    """Has the norms of `model` compute as one operation where it trains on a CPU in float32.

    A compiler fuses them itself. Nothing of this is saved with the model.
    """
    if device.type == "cpu":
        for module in model.modules():
            if type(module) in (LlamaRMSNorm, MistralRMSNorm):
                module.forward = types.MethodType(_forward, module)


def _forward(self: LlamaRMSNorm, hidden_states: Tensor) -> Tensor:
    kinds = {hidden_states.dtype, self.weight.dtype}
    if kinds == {torch.float32} and not torch.compiler.is_compiling():
        normed: Tensor = _Norm.apply(hidden_states, self.weight, self.variance_epsilon)
    else:
        normed = type(self).forward(self, hidden_states)
    return normed


class _Norm(torch.autograd.Function):
    """The norm of (…, width); what it keeps is its input, and a number a row."""

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        inverse = norm.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, weight, inverse)
        normed: Tensor = hidden * inverse
        return normed.mul_(weight)

    @staticmethod
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, weight, inverse = ctx.saved_tensors
        normed = hidden * inverse
        product = gradient * normed
        mean = (product @ weight).unsqueeze(-1) / len(weight)
        of_hidden = (gradient * weight).addcmul_(normed, mean, value=-1).mul_(inverse)
        return of_hidden, product.flatten(0, -2).sum(0), None
