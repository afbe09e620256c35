"""A deeper model out of a trained one: block expansion (LLaMA Pro) and depth up-scaling (SOLAR)."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from moxin_recipes.recipe.strict import RecipeError

# Pre-norm residual blocks whose two outputs are called o_proj and down_proj.
_MODEL_TYPES = ("mistral", "llama")
_PROBE_TOKENS = 64  # length of the fixed input that the certificate is made on


@dataclass(frozen=True)
class Layer:
    """A layer of the deeper model: the one it is copied from, and whether it adds nothing yet."""

    source: int
    identity: bool = False


def block_expansion(layers: int, wanted: int) -> list[Layer]:
    """LLaMA Pro (arXiv 2401.02415): an identity copy after each group of layers.

    There are `wanted - layers` groups, as even as they divide: 32 → 36 copies layers 8, 16, 24
    and 32 (counted from 1).
    """
    new = wanted - layers
    if not 1 <= new <= layers:
        raise RecipeError(
            f"`num_hidden_layers`: block expansion makes {layers + 1} to {2 * layers} layers "
            f"of {layers}, not {wanted}"
        )
    ends = [(group * layers) // new for group in range(1, new + 1)]
    plan = []
    for layer in range(layers):
        plan.append(Layer(layer))
        if layer + 1 in ends:
            plan.append(Layer(layer, identity=True))
    return plan


def depth_upscaling(layers: int, wanted: int) -> list[Layer]:
    """SOLAR (arXiv 2312.15166): the model twice, less the m layers on either side of the seam.

    `wanted` = 2 × (`layers` - m); SOLAR's own 32 → 48 has m = 8.
    """
    if wanted % 2 or not layers < wanted <= 2 * layers:
        raise RecipeError(
            f"`num_hidden_layers`: depth up-scaling makes an even number of layers above {layers} "
            f"and up to {2 * layers}, not {wanted}"
        )
    half = wanted // 2
    return [Layer(i) for i in range(half)] + [Layer(i) for i in range(layers - half, layers)]


def deepen(model: PreTrainedModel, plan: list[Layer]) -> None:
    """Rebuilds the layers of a Mistral or Llama in place; an identity layer keeps its norms.

    Its o_proj and down_proj are zero, so it passes the residual stream on. Were the norms zero
    too, nothing in the block would get a gradient.
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
    """Logits (1, 64, vocabulary) on a fixed input of evenly spaced token ids, in the model's type.

    The cache is off, as in training.
    """
    ids = torch.linspace(0, model.config.vocab_size - 1, _PROBE_TOKENS).long()[None]
    logits: torch.Tensor = model.eval()(input_ids=ids.to(model.device), use_cache=False).logits
    return logits


def deepened(
    start: Path, method: str, wanted: int, folder: Path, dtype: torch.dtype
) -> dict[str, Any]:
    """Deepens the model in `start`, saves it to `folder` in `dtype`; the certificate.

    The certificate is made on the model as it loads from `folder` again: `largest_logit_difference`
    (of the probe before and after), the parameters, and for each layer where it came from. Block
    expansion that changes a logit at all is an error, for nothing would be trained on from there.
    """
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    plans = {"expand": block_expansion, "upscale": depth_upscaling}
    layers = int(model.config.num_hidden_layers)
    plan = plans[method](layers, wanted)
    before, parameters = probe(model), model.num_parameters()
    deepen(model, plan)
    model.to(dtype).save_pretrained(folder)
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
        "layers_after": wanted,
        "parameters_before": parameters,
        "parameters_after": after.num_parameters(),
        "layers": [
            {"layer": i, "from": entry.source, "identity": entry.identity}
            for i, entry in enumerate(plan)
        ],
    }


def certificate_notes(certificate: dict[str, Any]) -> list[str]:
    """The certificate as lines of a card; layers counted from 0, as in the weights' names."""
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
