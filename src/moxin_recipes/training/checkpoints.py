"""Local checkpoints that say whose they are and whether they are whole; their push to the Hub."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from moxin_recipes.hub.manifest import MANIFEST, sha256_file
from moxin_recipes.hub.push import BackgroundPusher
from moxin_recipes.run import Run, write_json
from moxin_recipes.training import adapters

log = logging.getLogger(__name__)

# Weights, configs and tokenizers may leave the machine; torch files are pickles and may not.
_SHARED = (".safetensors", ".json", ".jinja", ".txt", ".model")
_OURS = ("trainer_state.json", MANIFEST)


def model_files(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint that may leave the machine."""
    return [
        path
        for path in sorted(checkpoint.iterdir())
        if path.is_file() and path.suffix in _SHARED and path.name not in _OURS
    ]


class Checkpoints(TrainerCallback):
    """Seals each checkpoint (key, seconds, digest of every file) and pushes its model files."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pusher = BackgroundPusher(run.state)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 (the signature of a callback)
        **_: Any,
    ) -> None:
        """Runs on every rank after the Trainer wrote `checkpoint-N`."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # each rank writes its own RNG state
        if not self._run.is_main:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        files = {
            path.relative_to(folder).as_posix(): sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }
        seal = {"key": self._run.key, "seconds": self._run.seconds, "files": files}
        write_json(folder / MANIFEST, seal)
        self.push(folder)

    def push(self, folder: Path) -> None:
        """Queues a sealed checkpoint; one that is on the Hub already is not sent again."""
        own, of = self._run.arguments, self._run.recipe
        if not (own.push_to_hub and own.push_checkpoints):
            return
        files = model_files(folder)
        if not any(path.suffix == ".safetensors" for path in files):
            log.warning("%s is sharded and stays here: a push would carry no weights", folder)
            return
        step = int(folder.name.split("-")[1])
        branch = f"step-{step:06d}"
        if of.stage == "pretrain":
            branch = f"{of.tag}-{branch}"  # several phases share the repository
        self._pusher.submit(
            files,
            branch,
            repo=own.hub_model_id,
            repo_type="model",
            manifest=self._run.manifest(
                summary=f"Intermediate checkpoint of `{of.name}`, step {step}."
            ),
            private=own.hub_private_repo,
            branch=branch,
        )

    def finish(self) -> None:
        """Waits until every intermediate push is on the Hub; raises if one is not."""
        self._pusher.finish()


def whole(run: Run) -> list[Path]:
    """The checkpoints of this run's key that are as they were written, the oldest first."""
    found = sorted(run.state.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    reasons = {checkpoint: _broken(checkpoint, run.key) for checkpoint in found}
    for checkpoint, reason in reasons.items():
        if reason:
            log.warning("%s is not used: %s", checkpoint, reason)
    return [checkpoint for checkpoint, reason in reasons.items() if not reason]


def _broken(checkpoint: Path, key: str) -> str | None:
    seal_file = checkpoint / MANIFEST
    if not seal_file.exists():
        return "it was not written to its end"
    seal = json.loads(seal_file.read_text(encoding="utf-8"))
    if seal["key"] != key:
        return "it belongs to another recipe or other inputs"
    for name, digest in seal["files"].items():
        if not (checkpoint / name).exists() or sha256_file(checkpoint / name) != digest:
            return f"{name} is not what was written"
    return None


def train(run: Run, trainer: Trainer) -> dict[str, Any]:
    """Trains from the last whole checkpoint, saves the model to `run.folder`; manifest facts.

    Facts: `tokens` read in training where the trainer counts them, and `log`, its history.
    """
    checkpoints = Checkpoints(run)
    trainer.add_callback(checkpoints)
    adapters.name_base(trainer, run.parent("model_name_or_path"))
    found = whole(run)
    if found:
        log.info("going on from %s", found[-1])
        run.seconds_before = json.loads((found[-1] / MANIFEST).read_text())["seconds"]
    if run.is_main:
        for checkpoint in found:
            checkpoints.push(checkpoint)  # a kill may have come between its seal and its push
    trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
    if trainer.is_fsdp_enabled:
        # Sharded saves write no weights that a push could carry.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if run.is_main:
        for pattern in ("*.safetensors", "*.index.json", "adapter_config.json"):
            for stale in run.folder.glob(pattern):  # of an earlier result
                stale.unlink()
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(run.folder))
    checkpoints.finish()
    if run.is_main:
        adapters.merge(trainer, run.folder, run.pull("model_name_or_path"))
        (run.folder / "training_args.bin").unlink()
    history = trainer.state.log_history
    return {"log": thinned(history), "tokens": _tokens(history)}


def _tokens(history: list[dict[str, Any]]) -> int | None:
    counted = [row["num_tokens"] for row in history if "num_tokens" in row]
    return int(counted[-1]) if counted else None


def thinned(history: list[dict[str, Any]], most: int = 200) -> list[dict[str, float]]:
    """At most `most` rows of the training log, evenly spaced, without clock readings."""
    rows = [row for row in history if "loss" in row or "eval_loss" in row]
    stride = max(1, -(-len(rows) // most))
    kept = rows[::stride]
    clock = ("time", "runtime", "per_second")
    return [
        {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and not any(word in name for word in clock)
        }
        for row in kept
    ]
