"""Every model of a ladder, loaded as a stranger does: by plain transformers, from the Hub."""

import json

from tests.conftest import Workplace
from tests.test_ladder import python

# Each model commit of the Hub → what its files say, what plain transformers makes of them.
LOADED = """
import json, os
from pathlib import Path
import torch
from huggingface_hub import HfApi, snapshot_download
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, logging
logging.set_verbosity_error()
api, commits, found = HfApi(), {}, {}
for repo in api.list_models():
    refs = api.list_repo_refs(repo.id)
    for ref in (*refs.tags, *refs.branches):
        later = "step-" in ref.name and int(ref.name[-6:]) > 3  # some checkpoints are enough
        if ref.name != "main" and not ref.name.startswith("done-") and not later:
            commits.setdefault((repo.id, ref.target_commit), f"{repo.id}@{ref.name}")
for (repo, commit), name in commits.items():
    folder = Path(snapshot_download(repo, revision=commit))
    if not (folder / "config.json").exists():
        continue
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dtypes, names = set(), []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names += file.keys()
            dtypes |= {str(file.get_tensor(key).dtype).split(".")[1] for key in file.keys()}
    prompt = torch.tensor([[tokenizer.bos_token_id, 20, 30]])
    made = [
        model.generate(prompt, max_new_tokens=6, do_sample=False, **how).tolist()
        for how in ({}, {"use_cache": False})
    ]
    found[name] = {
        "config": json.loads((folder / "config.json").read_text()),
        "generation": json.loads((folder / "generation_config.json").read_text()),
        "tokenizer": {
            name: getattr(tokenizer, name)
            for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        },
        "dtypes": sorted(dtypes),
        "weights": sorted(names),
        "wrong": {kind: sorted(map(str, keys)) for kind, keys in info.items() if keys},
        "template": tokenizer.chat_template is not None,
        "cached": made[0] == made[1],
    }
print(json.dumps(found))
"""
# What no stage of this ladder changes.
AS_THE_START = (
    *("architectures", "dtype", "head_dim", "hidden_act", "hidden_size", "intermediate_size"),
    *("initializer_range", "max_position_embeddings", "model_type", "num_attention_heads"),
    *("num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters"),
    *("sliding_window", "tie_word_embeddings", "use_cache", "vocab_size"),
)


def test_every_model_of_a_ladder_is_what_a_user_should_load(finished: Workplace) -> None:
    found = json.loads(python(finished.cold(), LOADED))
    start = found["local/moxin-nano-base@init"]
    assert start["config"]["use_cache"] is True
    for stage in ("base@pretrain-2k", "sft@sft", "instruct@dpo", "cot@cot-sft", "reasoning@grpo"):
        assert f"local/moxin-nano-{stage}" in found
    assert sum("step-" in name for name in found) > 5  # checkpoints, too
    for name, model in found.items():
        config, generation = model["config"], model["generation"]
        for key in AS_THE_START:
            assert config.get(key) == start["config"].get(key), (name, key)
        assert model["wrong"] == {}, name
        assert model["weights"] == start["weights"], name  # tied ones are there once
        assert model["dtypes"] == [config["dtype"]], name
        assert model["cached"], name
        for key, value in model["tokenizer"].items():
            assert config.get(key) == value, (name, key)
            ids = generation.get(key, value)
            assert value in (ids if isinstance(ids, list) else [ids]), (name, key)
        changed = {key for key in generation if "token_id" not in key}
        same = {key for key in start["generation"] if "token_id" not in key}
        assert changed == same, name
        assert model["template"] == ("-base@" not in name), name
