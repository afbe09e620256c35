"""Embeddings and a head that know which token follows which, before the first step of training.

The counts of all pairs of neighbours hold all that a model of one token of context can learn, so a
few hundred products of small matrices replace the first steps of training, which learn little else.
"""

import numpy as np
import torch
from torch.nn.functional import linear
from transformers import PreTrainedModel

_STEPS, _WARM_UP = 150, 5
_RATES = (0.1, 0.01)  # of the embeddings and of the head; the decay is linear, to 0


def fit(model: PreTrainedModel, pairs: np.ndarray) -> None:
    """Fits embeddings and head to `pairs` (`tokens/pairs.py`).

    Each step is one of Adam over all pairs. The model's blocks must be the identity, as those of
    `initialize_for_muon` are: then the fit is that of the whole model. It is fitted in float32, and
    keeps its dtype.
    """
    dtype = model.dtype
    model.float()
    joint = torch.from_numpy(pairs).float().div_(int(pairs.sum()))
    first = joint.sum(1)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    groups = [{"params": [w], "lr": lr} for w, lr in zip((embeddings, head), _RATES, strict=True)]
    optimizer = torch.optim.Adam(groups, betas=(0.8, 0.95), eps=1e-10, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / _WARM_UP, 1 - step / _STEPS)
    )
    for _ in range(_STEPS):
        logits = linear(model.base_model.norm(embeddings), head)
        slope = logits.detach()
        total = slope.logsumexp(1)
        # The cross-entropy's gradient, in the place of the logits: autograd would hold more arrays.
        slope.sub_(total[:, None]).exp_().mul_(first[:, None]).sub_(joint)
        optimizer.zero_grad()
        logits.backward(slope)
        optimizer.step()
        schedule.step()
    model.zero_grad()
    model.to(dtype)
