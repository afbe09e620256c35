"""Measures what a batch changes in each dtype, and the seconds of answers beside lm-eval's own.

    python -m bench evaluation

A model of six layers of width 256 with random weights and 1,024 pieces answers 512 questions of
four choices, and writes 64 texts of 64 tokens. In each dtype the choices at batch 64 are compared
with those at batch 1: how many are others, and how far the log-likelihoods are apart. (Random
weights make choices that are nearly alike, so more flip than a trained model's would.) The seconds
are of our model and of lm-eval's, on the same requests in float32 at batch 32, one thread and one
process each, with freed memory kept.
"""

import functools
import logging
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from bench.figures import print_times
from bench.inputs import save_model
from bench.machine import machine
from bench.turns import Turn, keep_memory, take_turns
from moxin_recipes.scores.model import Model
from moxin_recipes.tokens.write import train_tokenizer

QUESTIONS, CHOICES, TEXTS, LENGTH, ROUNDS = 512, 4, 64, 64, 5
WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "apples",
    "pears",
    "and",
    "of",
    "in",
]


def write_model(folder: Path) -> None:
    texts = [" ".join(random.Random(n).choices(WORDS, k=60)) for n in range(200)]
    save_model(folder, train_tokenizer(texts, 1024), 1024)


def instance(kind: str, number: int, *args: Any) -> Instance:
    return Instance(kind, {}, args, 0, ("bench", number, 1))


def choices() -> list[Instance]:
    draw = random.Random(0)
    requests = []
    for number in range(QUESTIONS):
        question = " ".join(draw.choices(WORDS, k=draw.randint(8, 40)))
        words = draw.sample(WORDS, k=3)
        for _ in range(CHOICES):  # the same words in other orders: choices that are nearly alike
            answer = " " + " ".join(draw.sample(words, k=3))
            requests.append(instance("loglikelihood", number, question, answer))
    return requests


def texts() -> list[Instance]:
    draw = random.Random(1)
    way = {"until": ["\n\n"], "max_gen_toks": LENGTH, "do_sample": False}
    return [
        instance("generate_until", n, " ".join(draw.choices(WORDS, k=draw.randint(8, 40))), way)
        for n in range(TEXTS)
    ]


def likely(model: Model, requests: list[Instance]) -> torch.Tensor:
    """Log-likelihoods [questions, choices]."""
    said = model.answer("loglikelihood", requests, [0] * len(requests), 0)
    return torch.tensor([response.value[0] for response in said]).view(-1, CHOICES)


def flips(folder: Path, dtype: str) -> None:
    requests = choices()
    alone, together = (
        likely(Model(folder, batch_size=batch, dtype=dtype, add_bos=None), requests)
        for batch in (1, 64)
    )
    others = int((alone.argmax(-1) != together.argmax(-1)).sum())
    apart = float((alone - together).abs().max())
    print(
        f"{dtype}: {others} of {QUESTIONS} choices are others at batch 64 than at batch 1; "
        f"log-likelihoods differ by {apart:.2g} at most"
    )


def ours(turn: Turn, folder: Path, kind: str) -> None:
    keep_memory()
    model, asked = Model(folder, batch_size=32, dtype="float32", add_bos=None), REQUESTS[kind]()
    while True:
        model.answer(kind, asked, [0] * len(asked), 0)
        turn()


def theirs(turn: Turn, folder: Path, kind: str) -> None:
    keep_memory()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = HFLM(pretrained=str(folder), dtype="float32", batch_size=32, device="cpu")
    asked = REQUESTS[kind]()
    while True:
        getattr(model, kind)(asked, disable_tqdm=True)
        turn()


REQUESTS = {"loglikelihood": choices, "generate_until": texts}


def main() -> None:
    print(machine("torch", "transformers", "lm_eval"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder)
        for dtype in ("float32", "bfloat16"):
            flips(folder, dtype)
        for kind, requests in REQUESTS.items():
            print(f"{kind}, {len(requests())} requests; medians of {ROUNDS}")
            result = take_turns(
                {
                    "lm-eval's HFLM": functools.partial(theirs, folder=folder, kind=kind),
                    "moxin": functools.partial(ours, folder=folder, kind=kind),
                },
                ROUNDS,
            )
            print_times(result.seconds)
