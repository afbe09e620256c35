"""Held-out scores of a saved model: bits per byte, and answers to unseen problems."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from moxin_recipes import rewards
from moxin_recipes.cpu.rollouts import Sampling, sample
from moxin_recipes.hub.pull import Pull
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.base import PostTrainingKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import metrics
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.vocabulary import token_bytes

_BATCH = 256  # prompts generated together


@cache
def _metric(name: str) -> evaluate.EvaluationModule:
    return evaluate.load(str(Path(str(metrics.__file__)).parent / f"{name}.py"))


def load(folder: Path) -> tuple[PreTrainedModel, Tokenizer]:
    """A saved model in float32 (bfloat16 on a GPU) and its tokenizer, ready to score."""
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    return model.to("cuda" if gpu else "cpu"), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def bits_per_byte(folder: Path, tokens: Path, context: int) -> dict[str, float]:
    """`bits_per_byte` over all sources' held-out tokens and `bits_per_byte/SOURCE` of each.

    Windows of `context` tokens, documents isolated as in training; a last part window is left out.
    """
    model, tokenizer = load(folder)
    lengths, framing = token_bytes(tokenizer), Framing.of(tokenizer, "model_name_or_path")
    held_out = TokenFolder(tokens)
    sources = held_out.sources("heldout")
    if not sources:
        raise RecipeError("`dataset_name`: these tokens have no held-out documents to measure on")
    nats: dict[str, list[float]] = {}
    sizes: dict[str, list[int]] = {}
    for source in sources:
        windows = [
            framing.packed(held_out.read(shard, start, context))
            for shard in held_out.shards(source, "heldout")
            for start in range(0, shard.tokens - context + 1, context)
        ]
        for start in range(0, len(windows), 16):
            batch = windows[start : start + 16]
            nats.setdefault(source, []).append(_nats(model, batch))
            labels = np.concatenate([window["labels"] for window in batch])
            sizes.setdefault(source, []).append(int(lengths[labels[labels >= 0]].sum()))
    scores = {
        f"bits_per_byte/{name}": _bits(nats[name], sizes[name]) for name in sources if name in nats
    }
    whole = _bits(list(chain(*nats.values())), list(chain(*sizes.values())))
    return {"bits_per_byte": whole, **scores}


def _bits(nats: list[float], sizes: list[int]) -> float:
    result = _metric("bits_per_byte").compute(predictions=nats, references=sizes)
    return round(float(result["bits_per_byte"]), 4)


def _nats(model: PreTrainedModel, batch: list[dict[str, np.ndarray]]) -> float:
    inputs = {
        key: torch.from_numpy(np.stack([window[key] for window in batch])).to(model.device)
        for key in ("input_ids", "position_ids")
    }
    labels = torch.from_numpy(np.stack([window["labels"] for window in batch])).to(model.device)
    logits = model(**inputs, use_cache=False).logits[:, :-1].float()
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )
    return float(total)


@dataclass(frozen=True)
class Completion:
    """What a model said, special tokens removed, and whether it ended by itself (EOS)."""

    text: str
    ended: bool


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: list[str],
    max_new_tokens: int,
    sample_seed: int | None = None,
) -> list[Completion]:
    """One completion a prompt: greedy, or sampled at temperature 1 when a seed is given."""
    if sample_seed is not None:
        torch.manual_seed(sample_seed)
    completions = {}
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        given = tokenizer([prompts[i] for i in part], add_special_tokens=False)["input_ids"]
        said = sample(
            model,
            given,
            max_new_tokens,
            Sampling(temperature=0.0 if sample_seed is None else 1.0),
            [tokenizer.eos_token_id],
            tokenizer.pad_token_id,
        )
        for i, ids in zip(part, said, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            completions[i] = Completion(text, ids[-1] == tokenizer.eos_token_id)
    return [completions[i] for i in range(len(prompts))]


def plain_rewards(completions: list[str], answers: list[str]) -> list[float]:
    """1 where the reply, or what follows its last `=`, is the answer."""
    pairs = zip(completions, answers, strict=True)
    return [float(text.strip().rpartition("=")[2] == answer) for text, answer in pairs]


def chain_rewards(completions: list[str], answers: list[str]) -> list[float]:
    """The training reward `math`."""
    return [score.reward for score in rewards.score("math", completions, answers)]


REWARDS_OF_FORMAT: dict[str, Callable[[list[str], list[str]], list[float]]] = {
    "plain": plain_rewards,
    "chain": chain_rewards,
}


def answers(
    folder: Path,
    problems: Dataset,
    answer_format: str,
    *,
    suffix: str = "",
    samples: int,
    max_new_tokens: int,
    seed: int,
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Scores on `problem`/`answer` rows, asked with `suffix`: (metrics, per-problem accuracies).

    `accuracy` is sampled pass@1 where `samples` > 1 (then `greedy_accuracy` stands beside it),
    greedy else; `ended` and `well_formed` are shares of those completions.
    """
    model, tokenizer = load(folder)
    prompts = asked(problems, tokenizer, suffix)
    wanted = list(problems["answer"])
    reward = REWARDS_OF_FORMAT[answer_format]

    def run(texts: list[str], sample_seed: int | None = None) -> list[Completion]:
        return generate(model, tokenizer, texts, max_new_tokens, sample_seed)

    greedy = run(prompts)
    rounds = [run(prompts, seed + i) for i in range(samples)] if samples > 1 else [greedy]
    flat = [completion for completions in rounds for completion in completions]
    right = reward([c.text for c in flat], wanted * len(rounds))
    which = list(range(len(prompts))) * len(rounds)
    result = _metric("pass_at_one").compute(predictions=right, references=which)
    items = {"accuracy": result.pop("items")}
    scores = {**result, "ended": float(np.mean([c.ended for c in flat]))}
    if answer_format == "chain":
        formed = rewards.score("format", [c.text for c in flat], [""] * len(flat))
        well = [score.reward for score in formed]
        scores["well_formed"] = float(np.mean(well))
    if samples > 1:
        right_at_once = reward([c.text for c in greedy], wanted)
        scores["greedy_accuracy"] = float(np.mean(right_at_once))
    return {name: round(value, 4) for name, value in scores.items()}, items


def asked(problems: Dataset, tokenizer: Tokenizer, suffix: str) -> list[str]:
    """Each problem as a user's turn, up to where the assistant begins."""
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": problem + suffix}],
            tokenize=False,
            add_generation_prompt=True,
        )
        for problem in problems["problem"]
    ]


def forced_chains(folder: Path, problems: Dataset, suffix: str, max_new_tokens: int) -> list[float]:
    """1 or 0 for each problem: greedy, with the full chain (`chain_prefix`) begun for the model."""
    model, tokenizer = load(folder)
    starts = list(problems["chain_prefix"])
    prompts = [p + s for p, s in zip(asked(problems, tokenizer, suffix), starts, strict=True)]
    said = generate(model, tokenizer, prompts, max_new_tokens)
    completions = [start + c.text for start, c in zip(starts, said, strict=True)]
    return chain_rewards(completions, list(problems["answer"]))


def held_out(model: Path, pull: Pull, keys: PostTrainingKeys) -> dict[str, Any]:
    """Manifest facts (`metrics`, `items`) of the saved model on the unseen problems of its recipe.

    Where problems have a `chain_prefix`, `forced_chain_accuracy` stands beside the answers' scores.
    All scores on the problems of `longer_split` begin with `longer_`.
    """
    facts: dict[str, Any] = {"metrics": {}, "items": {}}
    splits = {"": keys.eval_split, "longer_": keys.longer_split} if keys.problems_name else {}
    for prefix, split in splits.items():
        if split:
            scores, items = _on_split(model, pull, keys, split)
            facts["metrics"] |= {prefix + name: score for name, score in scores.items()}
            facts["items"] |= {prefix + name: each for name, each in items.items()}
    return facts


def _on_split(
    model: Path, pull: Pull, keys: PostTrainingKeys, split: str
) -> tuple[dict[str, float], dict[str, list[float]]]:
    columns = ["problem", "answer"] + (["chain_prefix"] if split == keys.longer_split else [])
    problems = load_split(
        pull("problems_name"), keys.problems_config, split, columns, "problems_name"
    )
    problems = problems.select(range(min(keys.eval_rows, len(problems))))
    scores, items = answers(
        model,
        problems,
        keys.answer_format,
        suffix=keys.prompt_suffix,
        samples=keys.eval_samples,
        max_new_tokens=keys.eval_max_new_tokens,
        seed=keys.seed,
    )
    if keys.answer_format == "chain" and "chain_prefix" in problems.column_names:
        right = forced_chains(model, problems, keys.prompt_suffix, keys.eval_max_new_tokens)
        forced = _metric("pass_at_one").compute(
            predictions=right, references=list(range(len(right)))
        )
        items["forced_chain_accuracy"] = right
        scores["forced_chain_accuracy"] = round(forced["accuracy"], 4)
        scores["forced_chain_accuracy_stderr"] = round(forced["accuracy_stderr"], 4)
    return scores, items
