"""Embeddings and a head that know which token follows which, before the first step of training.

The counts of all pairs of neighbours hold all that a model of one token of context can learn, so a
few hundred products of small matrices replace the first steps of training, which learn little else.
"""

import numpy as np
import torch
from torch.nn.functional import linear
from transformers import PreTrainedModel

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.shards import TokenFolder

_STEPS, _WARM_UP = 150, 5
_RATES = (0.1, 0.01)  # of the embeddings and of the head; the decay is linear, to 0
MOST = 2**13  # tokens of a vocabulary: pairs of 8,192 take 0.5 GB as int64, and logits as much


def counts(tokens: TokenFolder, vocabulary: int) -> np.ndarray:
    """Returns how often a token (row) is followed by another (column) in all training tokens.

    The shape is (vocabulary, vocabulary). RecipeError for a vocabulary above `MOST`.
    """
    if vocabulary > MOST:
        raise RecipeError(
            f"`bigrams_name`: {vocabulary:,} tokens make too many pairs; leave it out for "
            f"vocabularies above {MOST:,}"
        )
    pairs = np.zeros(vocabulary**2, np.int64)
    for source in tokens.sources("train"):
        for shard in tokens.shards(source, "train"):
            ids = tokens.read(shard, 0, shard.tokens)
            pairs += np.bincount(ids[:-1] * vocabulary + ids[1:], minlength=vocabulary**2)
    return pairs.reshape(vocabulary, vocabulary)


@torch.enable_grad()
def fit(model: PreTrainedModel, pairs: np.ndarray) -> float:
    """Fits embeddings and head to `pairs` (`counts`); returns the loss, in nats a token.

    Each step is one of Adam over all pairs. The model's blocks must be the identity, as those of
    `initialize_for_muon` are: then the fit is that of the whole model.
    """
    joint = torch.from_numpy(pairs / pairs.sum()).float()
    first = joint.sum(1)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    groups = [{"params": [w], "lr": lr} for w, lr in zip((embeddings, head), _RATES, strict=True)]
    optimizer = torch.optim.Adam(groups, betas=(0.8, 0.95), eps=1e-10, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / _WARM_UP, 1 - step / _STEPS)
    )
    for _ in range(_STEPS):
        logits = linear(model.base_model.norm(embeddings), head)
        loss = first @ logits.logsumexp(1) - (joint * logits).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.zero_grad()
    return float(loss.detach())
