"""Post-training stages as they are launched: LoRA with references computed beforehand, resumed."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from tests.conftest import Workplace


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
