"""Seals local checkpoints with their key and digests, resumes from them, and pushes them."""

import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from moxin_recipes.hub.outbox import Outbox
from moxin_recipes.hub.pull import STATE
from moxin_recipes.hub.retention import Retention, of_run
from moxin_recipes.models.published import save_as_published
from moxin_recipes.models.weights import check_whole, is_sharded, merge
from moxin_recipes.recipe import resume
from moxin_recipes.recipe.resume import read_seal
from moxin_recipes.training import adapters, disk, intact, sharding, states
from moxin_recipes.training.intact import last_intact, on_disk, step_of
from moxin_recipes.training.job import Job
from moxin_recipes.training.progress import watch
from moxin_recipes.training.steps import end_at_the_last
from moxin_recipes.training.trainers import PretrainTrainer

log = logging.getLogger(__name__)


class Checkpoints(TrainerCallback):
    """Seals each checkpoint (key, seconds, digest of every file) and sends its weights to the Hub.

    Both happen in a thread beside training. The next checkpoint waits for the seal of the previous
    one, so there is an intact checkpoint at any time.
    """

    def __init__(self, run: Job, trainer: Trainer) -> None:
        self._run, self._trainer = run, trainer
        keys = run.keys
        pushes = run.is_main and keys.push_to_hub and keys.push_checkpoints
        retention = Retention(keys.keep_checkpoints)
        self._outbox = Outbox(run.state / "outbox", retention) if pushes else None
        self._pushes_states = keys.push_to_hub and keys.push_training_state
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._sealing: list[Future[None]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, *_: Any, **parts: Any
    ) -> None:
        """Raises RecipeError, on every rank, if the disk has no room for what will be saved."""
        there, optimizer = len(on_disk(self._run)), parts["optimizer"].optimizer
        needed = disk.bytes_to_write(parts["model"], optimizer, args, state, there)
        self._run.ranks.once("room on the disk", lambda: disk.refuse(self._run.folder, needed))

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature of a callback)
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Runs on every rank before a checkpoint is written."""
        if control.should_save:
            what = f"the seal of the checkpoint before step {state.global_step}"
            self._run.ranks.once(what, self._wait)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Runs on every rank after the Trainer wrote `checkpoint-N`."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        # Each rank writes its own RNG state, and rank 0 what takes long.
        self._run.ranks.gather(f"all parts of {folder.name}", lambda: None)
        if self._pushes_states:
            what = f"the random states of {folder.name}"
            self._run.ranks.once(what, lambda: states.begin_all(self._run, folder))
        if self._run.is_main:
            self._sealing.append(self._sealer.submit(self._seal, folder, self._run.seconds))

    def _wait(self) -> None:
        while self._sealing:
            self._sealing.pop().result()

    def _seal(self, folder: Path, seconds: float) -> None:
        adapters.name_base(folder, self._run.parent("model_name_or_path"))
        identity = self._run.identity
        intact.seal(folder, identity.key, identity.values, seconds)
        self._push(folder)

    def push_again(self, last: Path) -> None:
        """Queues `last` and older sealed ones, in case a kill came before the queue.

        `last` is intact; an older one is looked at here, beside training.
        """
        if self._pushes_states and not states.is_begun(last):
            states.begin(last)
        for folder in on_disk(self._run):
            if step_of(folder) <= step_of(last):
                self._sealing.append(self._sealer.submit(self._push, folder, folder == last))

    def _push(self, folder: Path, known_intact: bool = True) -> None:
        """Queues a sealed checkpoint's weights, and its state where the recipe says so.

        Raises WeightsError if weights are missing.
        """
        if self._outbox is None:
            return
        branch = states.branch_of(self._run, step_of(folder))
        kinds = {branch: self._push_weights}
        if self._pushes_states and states.is_begun(folder):
            kinds[STATE + branch] = self._push_state
        # Before its shards are merged again, or its state is written again.
        waiting = {name: push for name, push in kinds.items() if not self._outbox.has(name)}
        if waiting and not known_intact and (reason := intact.fault(self._run, folder)):
            log.warning("%s is not pushed: %s", folder, reason)
            return
        for name, push in waiting.items():
            push(folder, name)

    def _push_weights(self, folder: Path, branch: str) -> None:
        if is_sharded(folder) and isinstance(self._trainer.model, PeftModel):
            log.warning("%s stays here: a sharded adapter is pushed at the end only", folder)
            return
        merged = self._run.state / f"merged-{branch}"
        weights = self._merged(folder, merged) if is_sharded(folder) else folder
        check_whole(weights)
        summary = "Intermediate checkpoint of `{}`, step {}."
        self._add(states.model_files(weights), branch, folder, summary)
        shutil.rmtree(merged, ignore_errors=True)

    def _push_state(self, folder: Path, branch: str) -> None:
        written = self._run.state / f"plain-{branch}"
        files = states.write(folder, written)
        summary = (
            "State of the training of `{}` at step {}, with which another machine goes on: "
            "weights, optimizer, scheduler, random state, position (`push_training_state`)."
        )
        facts = states.facts(folder)
        self._add(files, branch, folder, summary, **facts)
        shutil.rmtree(written)

    def _add(
        self, files: list[Path], branch: str, folder: Path, summary: str, **facts: Any
    ) -> None:
        """Queues files of a checkpoint as a branch."""
        keys, recipe = self._run.keys, self._run.recipe
        if self._outbox is None:
            return
        self._outbox.add(
            files,
            branch,
            repo=keys.hub_model_id,
            repo_type="model",
            manifest=self._run.manifest(
                summary=summary.format(recipe.name, step_of(folder)), **facts
            ),
            private=keys.hub_private_repo,
        )

    def _merged(self, checkpoint: Path, folder: Path) -> Path:
        """Writes a sharded checkpoint to `folder` as a model with its tokenizer."""
        merge(checkpoint, self._trainer.model, folder)
        self._trainer.processing_class.save_pretrained(folder)
        return folder

    def finish(self) -> dict[str, str]:
        """Waits until every checkpoint is sealed and on the Hub; raises if one cannot be.

        Returns branch → payload of those that stay there.
        """
        self._wait()
        if self._outbox is None:
            return {}
        self._outbox.finish()
        repo, key = self._run.keys.hub_model_id, self._run.identity.key
        branch = states.branch_of(self._run, 0)
        return {
            name: payload
            for kind in (branch, STATE + branch)
            for name, payload in of_run(repo, "model", kind, key).items()
        }


def train(run: Job, trainer: Trainer, sequence_length: int | None = None) -> dict[str, Any]:
    """Trains from the last intact checkpoint, here or on the Hub; saves the model to `run.folder`.

    It shows the progress, with tokens a second if each sequence has `sequence_length` tokens.
    Returns facts for the manifest: `log`, the training history, `tokens`, the tokens that were
    read, or None if the trainer does not count them, and `checkpoints`, those that stay on the Hub.
    """
    if not isinstance(trainer.model, PeftModel):
        save_as_published(trainer.model)
    watch(run, trainer, sequence_length)
    checkpoints = Checkpoints(run, trainer)
    trainer.add_callback(checkpoints)
    last = last_intact(run) or states.fetch_last(run)
    if last:
        seal = read_seal(last)
        if run.is_main:
            log.info("going on from %s%s", last, resume.goes_on(run.identity, seal))
            checkpoints.push_again(last)
        run.seconds_before = seal["seconds"]
        if isinstance(trainer, PretrainTrainer):
            trainer.start_step = step_of(last)
    elif run.is_main:
        for line in resume.starts_anew(run.identity, run.folder):
            log.info("%s %s", run.recipe.name, line)
    sharding.sum_in_float32(trainer)
    sharding.keep_head_with_norm()
    end_at_the_last(trainer)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.is_fsdp_enabled:
        # A sharded save writes no weights that can be pushed.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    run.ranks.once("the model's folder", lambda: _remove_weights(run.folder))
    trainer.save_model(str(run.folder))
    if trainer.is_fsdp_enabled:
        adapters.gather(trainer, run.folder)
    kept = run.ranks.once(
        "the model in its folder, the checkpoints on the Hub",
        lambda: _complete(run, trainer, checkpoints),
    )
    history = trainer.state.log_history
    return {"log": thinned(history), "tokens": _tokens(history), "checkpoints": kept}


def _remove_weights(folder: Path) -> None:
    """Removes what an earlier run left."""
    for pattern in ("*.safetensors", "*.index.json", "adapter_config.json"):
        for stale in folder.glob(pattern):
            stale.unlink()


def _complete(run: Job, trainer: Trainer, checkpoints: Checkpoints) -> dict[str, str]:
    """What is left to rank 0 after the save; the network is waited for."""
    kept = checkpoints.finish()
    adapters.merge(trainer, run.folder, run.pull("model_name_or_path"))
    (run.folder / "training_args.bin").unlink()
    check_whole(run.folder)
    return kept


def _tokens(history: list[dict[str, Any]]) -> int | None:
    counts = [row["num_tokens"] for row in history if "num_tokens" in row]
    return int(counts[-1]) if counts else None


def thinned(history: list[dict[str, Any]], limit: int = 200) -> list[dict[str, float]]:
    """Returns at most `limit` evenly spaced rows of the training log, without clock readings."""
    rows = [row for row in history if "loss" in row or "eval_loss" in row]
    stride = max(1, -(-len(rows) // limit))
    thinned_rows = rows[::stride]
    clock = ("time", "runtime", "per_second")
    return [
        {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and not any(word in name for word in clock)
        }
        for row in thinned_rows
    ]
