"""Post-training stages as they are launched: LoRA with references computed beforehand, resumed."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from tests.conftest import Workplace
from tests.test_ladder import python


def trainer_state(folder: Path, step: int) -> dict[str, Any]:
    (path,) = folder.glob(f"state-*/checkpoint-{step}/trainer_state.json")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_dpo_with_lora_and_precomputed_references_goes_on_where_it_stopped(
    finished: Workplace, tmp_path: Path
) -> None:
    options = {
        "output_dir": str(tmp_path),
        "push_to_hub": "false",
        "global_batch_size": "8",
        "per_device_train_batch_size": "8",
        "max_steps": "4",
        "save_steps": "2",
        "use_peft": "true",
        "lora_r": "4",
        "learning_rate": "1e-2",
        "precompute_ref_log_probs": "true",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    done = finished.cold().launch("dpo", "31-dpo", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    whole = load_file(tmp_path / "model.safetensors")  # merged: the next stage loads it as it is
    assert not list(tmp_path.glob("adapter_*"))
    assert (tmp_path / "left_out.parquet").is_file()
    assert (tmp_path / "left_out_test.parquet").is_file()
    undisturbed = trainer_state(tmp_path, 4)
    half = trainer_state(tmp_path, 2)["num_input_tokens_seen"]
    assert 0 < half < undisturbed["num_input_tokens_seen"]
    (last,) = tmp_path.glob("state-*/checkpoint-4")
    shutil.rmtree(last)
    again = finished.launch("dpo", "31-dpo", *words)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "going on from" in again.stderr
    resumed = trainer_state(tmp_path, 4)
    assert resumed["num_input_tokens_seen"] == undisturbed["num_input_tokens_seen"]
    ends = load_file(tmp_path / "model.safetensors")
    assert set(ends) == set(whole)
    assert all((ends[name] == whole[name]).all() for name in whole)


PROBLEMS = """
from datasets import load_dataset
rows = load_dataset("local/moxin-nano-problems", "problems", split="rl", revision="data")
print(*rows["problem"], sep="\\n")
"""
PUSHED = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, snapshot_download
import pyarrow.parquet as pq
folder = Path(snapshot_download("local/tried-clean", revision="grpo"))
said = json.loads((folder / "moxin.json").read_text())
print(json.dumps({
    "listed": pq.read_table(folder / "contaminated.parquet").to_pylist(),
    "counts": said["counts"],
    "report": said["contamination"],
    "sets": said["recipe"]["decontaminate"],
    "parents": [parent["key"] for parent in said["parents"]],
    "card": (folder / "README.md").read_text(),
}))
HfApi().delete_repo("local/tried-clean")
for parent in said["parents"]:
    if parent["key"].startswith("decontaminate"):
        HfApi().delete_repo(parent["repo"], repo_type="dataset")
"""


def test_grpo_leaves_out_the_problems_of_an_evaluation_set(
    finished: Workplace, tmp_path: Path
) -> None:
    problems = python(finished, PROBLEMS).splitlines()
    planted = problems[3:40:9]
    lines = [{"question": text.replace("+", " + ")} for text in [*planted, "1+2", "9*9*9-9*9"]]
    items = tmp_path / "planted.jsonl"
    items.write_text("".join(json.dumps(line) + "\n" for line in lines))
    wanted = {"name": "planted", "dataset": str(items), "split": "train", "rules": ["whole"]}
    sets = tmp_path / "sets.yaml"
    sets.write_text(json.dumps({"decontaminate": [{**wanted, "columns": ["question"]}]}))
    done = finished.launch(
        *("grpo", "42-grpo", "--decontaminate", str(sets), "--hub_model_id", "tried-clean"),
        *("--max_steps", "1", "--output_dir", str(tmp_path / "out")),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    held = [place for place, text in enumerate(problems) if text in planted]
    line = (
        f"`decontaminate`: {len(held)} of {len(problems)} problems hold items of evaluation sets "
        f"and are left out: planted {len(held)}"
    )
    assert line in done.stderr
    pushed = json.loads(python(finished, PUSHED))
    assert [row["problem"] for row in pushed["listed"]] == held
    assert {(row["set"], row["rule"]) for row in pushed["listed"]} == {("planted", "whole")}
    assert pushed["counts"]["left out (contaminated: planted (whole))"] == len(held)
    (report,) = pushed["report"]
    assert (report["documents"], report["found_items"]) == (len(held), len(planted))
    assert (report["items"], report["too_short"]) == (len(planted) + 2, 1)
    assert [one["name"] for one in pushed["sets"]] == ["planted"]
    assert "decontaminate[0]" in pushed["parents"]
    assert f"| planted | {len(held)} | {len(planted)} of {len(planted) + 2} | 1 |" in pushed["card"]
