"""What recipes do: transformers and datasets push to the Hub and load from it, unchanged."""

from __future__ import annotations

from pathlib import Path

from running_hub import Hub

_TRANSFORMERS = """
import sys
import torch
from huggingface_hub import HfApi
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast, Trainer, TrainingArguments

api = HfApi()
repo = "moxin-org/tiny"
config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=2, vocab_size=512)
first, second = LlamaForCausalLM(config), LlamaForCausalLM(config)

pushed = first.push_to_hub(repo, max_shard_size="100KB", commit_message="first")
files = api.list_repo_files(repo)
assert sum(name.endswith(".safetensors") for name in files) > 2, files
api.create_tag(repo, tag="pretrain-2k")
api.create_branch(repo, branch="step-000100")
words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
tokenizer.push_to_hub(repo)
second.push_to_hub(repo, max_shard_size="100KB", commit_message="second", revision="main")


def same(model, revision):
    loaded = AutoModelForCausalLM.from_pretrained(repo, revision=revision)
    weights = loaded.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


assert same(second, "main")
assert same(first, "pretrain-2k")
assert same(first, "step-000100")
assert same(first, pushed.oid)
assert AutoTokenizer.from_pretrained(repo)("a b a")["input_ids"] == [0, 1, 0]

data = [{"input_ids": torch.arange(8), "labels": torch.arange(8)} for _ in range(4)]
arguments = TrainingArguments(
    "run", max_steps=2, save_steps=1, push_to_hub=True, hub_model_id="moxin-org/trained",
    hub_strategy="all_checkpoints", hub_private_repo=True, use_cpu=True, report_to=[],
    per_device_train_batch_size=1, hub_always_push=True,
)
trainer = Trainer(first, arguments, train_dataset=data)
trainer.train()
trainer.push_to_hub(commit_message="End of training", blocking=True)
files = api.list_repo_files("moxin-org/trained")
for name in ("model.safetensors", "checkpoint-1/model.safetensors", "checkpoint-2/optimizer.pt"):
    assert name in files, files
assert api.model_info("moxin-org/trained").private
print("done")
"""

_DATASETS = """
from datasets import Dataset, DatasetDict, get_dataset_config_names, load_dataset
from huggingface_hub import HfApi

api = HfApi()
repo = "moxin-org/rows"
small = Dataset.from_dict({"text": [f"row {i}" for i in range(100)]})
large = Dataset.from_dict({"text": ["x" * 1000] * 5000, "n": list(range(5000))})
DatasetDict({"train": small, "test": small.select(range(10))}).push_to_hub(repo, private=True)
api.create_tag(repo, tag="v1", repo_type="dataset")
large.push_to_hub(repo, config_name="large", split="train", max_shard_size="1MB")
assert sorted(get_dataset_config_names(repo)) == ["default", "large"]
assert load_dataset(repo, split="test")["text"] == [f"row {i}" for i in range(10)]
assert load_dataset(repo, "large", split="train")["n"] == list(range(5000))
assert get_dataset_config_names(repo, revision="v1") == ["default"]
assert len(load_dataset(repo, revision="v1")["train"]) == 100
small.select(range(7)).push_to_hub(repo, split="train")
sha = api.dataset_info(repo).sha
assert len(load_dataset(repo, revision=sha, split="train")) == 7
assert len(load_dataset(repo, revision="v1", split="train")) == 100
stream = load_dataset(repo, "large", split="train", streaming=True)
assert [row["n"] for row in stream.skip(4990)] == list(range(4990, 5000))
print("done")
"""


def test_transformers(hub: Hub, tmp_path: Path) -> None:
    assert hub.run(_TRANSFORMERS, cache=tmp_path).strip().endswith("done")


def test_datasets(hub: Hub, tmp_path: Path) -> None:
    assert hub.run(_DATASETS, cache=tmp_path).strip().endswith("done")
