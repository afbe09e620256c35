"""Deepens a trained model by block expansion (LLaMA Pro) or by depth up-scaling (SOLAR)."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from moxin_recipes.models import published
from moxin_recipes.recipe.strict import RecipeError

# Models with pre-norm residual blocks whose two output projections are o_proj and down_proj.
_MODEL_TYPES = ("mistral", "llama")
_PROBE_TOKENS = 64  # length of the fixed input for the certificate


@dataclass(frozen=True)
class Layer:
    """A layer of the deeper model: its source layer, and whether it begins as the identity."""

    source: int
    identity: bool = False


def block_expansion(layers: int, target_layers: int) -> list[Layer]:
    """Plans LLaMA Pro's expansion (arXiv 2401.02415): an identity copy after each layer group.

    There are `target_layers - layers` groups of nearly equal size: 32 → 36 copies the layers 8, 16,
    24 and 32, counted from 1. Raises RecipeError if the number of layers is not possible.
    """
    new = target_layers - layers
    if not 1 <= new <= layers:
        raise RecipeError(
            f"`num_hidden_layers`: block expansion makes {layers + 1} to {2 * layers} layers "
            f"of {layers}, not {target_layers}"
        )
    ends = [(group * layers) // new for group in range(1, new + 1)]
    plan = []
    for layer in range(layers):
        plan.append(Layer(layer))
        if layer + 1 in ends:
            plan.append(Layer(layer, identity=True))
    return plan


def depth_upscaling(layers: int, target_layers: int) -> list[Layer]:
    """Plans SOLAR's up-scaling (arXiv 2312.15166): the model twice, without m layers at the seam.

    m layers are left out on either side: `target_layers` = 2 × (`layers` - m). SOLAR has 32 → 48
    with m = 8. Raises RecipeError if the number of layers is not possible.
    """
    if target_layers % 2 or not layers < target_layers <= 2 * layers:
        raise RecipeError(
            f"`num_hidden_layers`: depth up-scaling makes an even number of layers above {layers} "
            f"and up to {2 * layers}, not {target_layers}"
        )
    half = target_layers // 2
    return [Layer(i) for i in range(half)] + [Layer(i) for i in range(layers - half, layers)]


def deepen(model: PreTrainedModel, plan: list[Layer]) -> None:
    """Rebuilds the layers of a Mistral or Llama model in place.

    In an identity layer, o_proj and down_proj are zero, so the residual stream passes unchanged.
    The layer keeps its norms: with zero norms nothing in it would get a gradient.
    """
    config = model.config
    if config.model_type not in _MODEL_TYPES:
        raise RecipeError(
            f"`model_name_or_path`: a {config.model_type} model cannot be deepened; "
            f"it has to be one of {', '.join(_MODEL_TYPES)}"
        )
    old, used, layers = model.model.layers, set[int](), []
    for position, entry in enumerate(plan):
        # The first use moves the layer itself: only the added layers take memory.
        layer = copy.deepcopy(old[entry.source]) if entry.source in used else old[entry.source]
        used.add(entry.source)
        if entry.identity:
            for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
                for parameter in projection.parameters():
                    torch.nn.init.zeros_(parameter)
        layer.self_attn.layer_idx = position
        layers.append(layer)
    model.model.layers = torch.nn.ModuleList(layers)
    config.num_hidden_layers = len(plan)


@torch.no_grad()
def probe(model: PreTrainedModel) -> torch.Tensor:
    """Returns the logits (1, 64, vocabulary) for evenly spaced token ids, in the model's dtype.

    The key–value cache is off, as in training.
    """
    ids = torch.linspace(0, model.config.vocab_size - 1, _PROBE_TOKENS).long()[None]
    logits: torch.Tensor = model.eval()(input_ids=ids.to(model.device), use_cache=False).logits
    return logits


def deepened(
    start: Path, method: str, target_layers: int, folder: Path, dtype: torch.dtype
) -> dict[str, Any]:
    """Deepens the model in `start`, saves it to `folder` in `dtype`, and returns a certificate.

    The certificate describes the model that loads from `folder`. It has `largest_logit_difference`
    between the probes before and after, the numbers of parameters, and the source of each layer.
    Raises RecipeError if block expansion changes a logit: it must start as the same function.
    """
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    plans = {"expand": block_expansion, "upscale": depth_upscaling}
    layers = int(model.config.num_hidden_layers)
    plan = plans[method](layers, target_layers)
    before, parameters = probe(model), model.num_parameters()
    deepen(model, plan)
    published.save(model.to(dtype), folder)
    del model
    after = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    difference = float((probe(after) - before).abs().max())
    if method == "expand" and difference != 0:
        raise RecipeError(
            f"the expanded model's logits differ by up to {difference:g} from those it started "
            "with; `dtype` has to hold its weights exactly"
        )
    return {
        "method": method,
        "largest_logit_difference": difference,
        "probe": f"{_PROBE_TOKENS} token ids, evenly spaced from 0 to the last; float32",
        "layers_before": layers,
        "layers_after": target_layers,
        "parameters_before": parameters,
        "parameters_after": after.num_parameters(),
        "layers": [
            {"layer": i, "from": entry.source, "identity": entry.identity}
            for i, entry in enumerate(plan)
        ],
    }


def certificate_notes(certificate: dict[str, Any]) -> list[str]:
    """Returns the certificate as lines of a card; layers count from 0, as in the weights' names."""
    rows = [
        f"| {row['layer']} | {row['from']} | {'o_proj and down_proj zero' * row['identity']} |"
        for row in certificate["layers"]
    ]
    return [
        "## Certificate of the deeper model\n",
        f"Largest difference of a logit, before and after: "
        f"**{certificate['largest_logit_difference']:g}** ({certificate['probe']}). "
        f"{certificate['layers_before']} → {certificate['layers_after']} layers, "
        f"{certificate['parameters_before']:,} → {certificate['parameters_after']:,} parameters.\n",
        "| layer | copy of | |",
        "|---|---|---|",
        *rows,
    ]
