"""Deeper models: which layer comes from where, and not one logit changed by identity blocks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.conftest import ROOT
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from moxin_recipes.hub import session
from moxin_recipes.models.deepen import Layer, block_expansion, deepened, depth_upscaling
from moxin_recipes.models.scratch import mistral_config
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run
from moxin_recipes.stages import init
from moxin_recipes.tokens.write import train_tokenizer

SHAPE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def model(kind: str, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    if kind == "mistral":
        return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=16))
    tied = {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}
    net = LlamaForCausalLM(LlamaConfig(**SHAPE, **tied))
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return net


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["some text"], 300)


def saved(folder: Path, net: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_thirty_two_layers_become_thirty_six() -> None:
    plan = block_expansion(32, 36)
    assert [i for i, layer in enumerate(plan) if layer.identity] == [8, 17, 26, 35]
    assert [layer.source + 1 for layer in plan if layer.identity] == [8, 16, 24, 32]
    assert [layer.source for layer in plan if not layer.identity] == list(range(32))
    uneven = block_expansion(30, 34)
    assert [layer.source + 1 for layer in uneven if layer.identity] == [7, 15, 22, 30]


def test_solars_forty_eight_layers() -> None:
    plan = depth_upscaling(32, 48)
    assert [layer.source for layer in plan] == [*range(24), *range(8, 32)]
    assert not any(layer.identity for layer in plan)
    assert depth_upscaling(6, 8)[3:5] == [Layer(3), Layer(2)]


@pytest.mark.parametrize("target_layers", [32, 65, 20])
def test_a_number_of_layers_that_cannot_be(target_layers: int) -> None:
    for plan in (block_expansion, depth_upscaling):
        with pytest.raises(RecipeError, match="`num_hidden_layers`"):
            plan(32, target_layers)


@pytest.mark.parametrize("kind", ["mistral", "llama"])
def test_identity_blocks_change_no_logit(kind: str, tmp_path: Path) -> None:
    net = model(kind)
    net.save_pretrained(tmp_path / "start")
    certificate = deepened(tmp_path / "start", "expand", 8, tmp_path / "deep", torch.float32)
    assert certificate["largest_logit_difference"] == 0
    assert certificate["parameters_before"] == net.num_parameters()
    deep = AutoModelForCausalLM.from_pretrained(tmp_path / "deep")
    assert certificate["parameters_after"] == deep.num_parameters()
    ids = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(net.eval()(ids).logits, deep(ids).logits)  # the cache on, too
    added = [row["layer"] for row in certificate["layers"] if row["identity"]]
    assert added == [3, 7]
    deep(input_ids=ids, labels=ids).loss.backward()
    for layer in (deep.model.layers[i] for i in added):
        assert layer.input_layernorm.weight.abs().min() > 0
        for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
            assert not any(p.any() for p in projection.parameters())
            assert projection.weight.grad.any()  # so it learns


def test_upscaling_takes_the_right_layers_and_says_what_it_changed(tmp_path: Path) -> None:
    net = model("mistral")
    net.save_pretrained(tmp_path / "start")
    certificate = deepened(tmp_path / "start", "upscale", 8, tmp_path / "deep", torch.float32)
    assert certificate["largest_logit_difference"] > 0
    deep = AutoModelForCausalLM.from_pretrained(tmp_path / "deep")
    sources = [0, 1, 2, 3, 2, 3, 4, 5]
    assert [row["from"] for row in certificate["layers"]] == sources
    for layer, source in zip(deep.model.layers, sources, strict=True):
        for name, weight in layer.state_dict().items():
            assert torch.equal(weight, net.model.layers[source].state_dict()[name])


def test_the_seven_b_recipes_have_their_parameters() -> None:
    own = read(ROOT / "recipes/moxin-7b/10-init.yaml").keys
    arm = read(ROOT / "recipes/moxin-7b-expanded/10-init.yaml").keys

    mistrals = {"vocab_size": 32_000, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    config = mistral_config(own, mistrals)
    with torch.device("meta"):
        assert MistralForCausalLM(config).num_parameters() == 8_114_180_096 == own.parameters
        config.num_hidden_layers = 32
        parent = MistralForCausalLM(config)
    assert parent.num_parameters() == 7_241_732_096
    block = sum(parameter.numel() for parameter in parent.model.layers[0].parameters())
    added = len(block_expansion(32, arm.num_hidden_layers)) - 32
    assert parent.num_parameters() + added * block == arm.parameters == 8_114_180_096


def test_the_smollm2_arm_has_its_parameters() -> None:
    own = read(ROOT / "recipes/smollm2-135m-expanded/11-expand.yaml").keys
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=own.num_hidden_layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        assert LlamaForCausalLM(config).num_parameters() == own.parameters
    assert len(block_expansion(30, own.num_hidden_layers)) == 34


def stage(folder: Path, **values: Any) -> tuple[dict[str, Any], Path, str]:
    """Runs `init` with a recipe of these keys; (manifest, folder of what came out, card)."""
    path = folder / "recipes" / "arm" / "10-init.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"stage": "init", **values}))
    out = folder / "out"
    init.main(Run(read(path, ["--output_dir", str(out)])))
    return json.loads((out / "moxin.json").read_text()), out, (out / "README.md").read_text()


def test_the_stage_expands_a_model_of_the_hub(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    session.start()
    session.api().create_repo("local/parent", exist_ok=True)
    folder = saved(tmp_path / "parent", model("mistral"), tokenizer)
    session.api().upload_folder(repo_id="local/parent", folder_path=folder)
    keys = {"method": "expand", "model_name_or_path": "parent", "hub_model_id": "deep-base"}
    manifest, out, card = stage(tmp_path, **keys, num_hidden_layers=8)
    assert manifest["certificate"]["largest_logit_difference"] == 0
    assert manifest["parents"][0]["repo"] == "local/parent"
    assert manifest["counts"]["parameters"] == manifest["certificate"]["parameters_after"]
    assert "before and after: **0**" in card
    assert "| 7 | 5 | o_proj and down_proj zero |" in card
    assert (out / "tokenizer.json").exists()
    with pytest.raises(RecipeError, match="`parameters` says 7"):
        stage(tmp_path, **keys, num_hidden_layers=8, parameters=7)
    with pytest.raises(RecipeError, match="`num_hidden_layers` is missing: `method: expand`"):
        stage(tmp_path, **keys)


def test_the_stage_averages_models_of_the_hub(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    session.start()
    nets = [model("mistral", seed) for seed in range(3)]
    for seed, net in enumerate(nets):
        session.api().create_repo(f"local/seed-{seed}", exist_ok=True)
        folder = saved(tmp_path / f"seed-{seed}", net, tokenizer)
        session.api().upload_folder(repo_id=f"local/seed-{seed}", folder_path=folder)
    three = [f"seed-{seed}" for seed in range(3)]
    keys = {"method": "average", "hub_model_id": "mean-base"}
    manifest, out, _ = stage(tmp_path, **keys, models=three)
    assert [parent["repo"] for parent in manifest["parents"]] == [f"local/{r}" for r in three]
    averaged = AutoModelForCausalLM.from_pretrained(out).state_dict()
    for name, weight in averaged.items():
        mean = sum(net.state_dict()[name].double() for net in nets) / 3
        assert torch.equal(weight, mean.float()), name
    _, out, _ = stage(tmp_path, **keys, models=["seed-1", "seed-1", "seed-1"])
    same = AutoModelForCausalLM.from_pretrained(out).state_dict()
    assert all(torch.equal(same[name], w) for name, w in nets[1].state_dict().items())
    other = LlamaForCausalLM(LlamaConfig(**SHAPE | {"hidden_size": 16}))
    session.api().create_repo("local/other", exist_ok=True)
    folder = saved(tmp_path / "other", other, tokenizer)
    session.api().upload_folder(repo_id="local/other", folder_path=folder)
    with pytest.raises(RecipeError, match="`models`"):
        stage(tmp_path, **keys, models=["seed-1", "other"])
