"""Pushes a tiny model and tokens to the Hub in use, for a phase of pretraining to start from."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tests.tiny import tiny_mistral

from moxin_recipes.hub import session
from moxin_recipes.hub.push import push
from moxin_recipes.tokens.write import train_tokenizer, write_tokens

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def documents(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(count)
    texts = [" ".join(rng.choice(WORDS, int(rng.integers(5, 60)))) for _ in range(count)]
    return [{"text": text, "id": str(i), "origin": "x"} for i, text in enumerate(texts)]


def manifest(stage: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "recipe_name": stage,
        "recipe_file": stage,
        "key": stage,
        "recipe": {"stage": stage},
        "parents": [],
        "licenses": [],
        "code": {"version": "0"},
        "flags": {},
        "launcher": {},
        "libraries": {},
        "hardware": {"machine": "m", "cpus": 1, "gpus": [], "processes": 1},
        "seconds": 0.0,
        "summary": "For tests.",
    }


def main() -> None:
    """`fill_hub FOLDER`: `tiny-base@init` and `tiny-tokens@data`."""
    folder = Path(sys.argv[1])
    session.start()
    tokenizer = train_tokenizer([" ".join(WORDS)] * 5, 300)
    for split, count in (("train", 400), ("heldout", 20)):
        write_tokens(folder / "tokens/words", split, documents(count), tokenizer, 10**6)
    push(
        folder / "tokens", "tiny-tokens", "dataset", manifest("data"), private=True, tags=("data",)
    )
    shape = {"sliding_window": 16, "tie_word_embeddings": False}  # untied as Moxin-7B
    net = tiny_mistral(tokenizer, **shape)
    net.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    push(folder / "base", "tiny-base", "model", manifest("init"), private=True, tags=("init",))


if __name__ == "__main__":
    main()
