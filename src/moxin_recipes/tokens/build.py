"""The two token repositories of the stage `data`: a tokenizer, and the tokens made with it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from moxin_recipes.hub.files import spread
from moxin_recipes.tokens import mistral, vocabulary
from moxin_recipes.tokens.write import card_notes, counted, train_tokenizer, write_tokens


def save_tokenizer(
    folder: Path, kind: str, vocab_size: int, texts: Iterable[str]
) -> dict[str, Any]:
    """Saves Mistral's own tokenizer, or a byte-level BPE trained on `texts`; facts for the card."""
    if kind == "mistral":
        mistral.build().save_pretrained(folder)
        return {"summary": mistral.SUMMARY}
    tokenizer = train_tokenizer(texts, vocab_size)
    tokenizer.save_pretrained(folder)
    return {"summary": f"Byte-level BPE of {len(tokenizer)} pieces; digits stay single."}


def save_tokens(
    folder: Path,
    tokenizer: Path,
    training: dict[str, Path],
    heldout: Mapping[str, Iterable[dict[str, Any]]],
    shard_tokens: int,
) -> dict[str, Any]:
    """Fills `folder` with shards of each source; facts for the manifest and the card.

    `training` has the folder of a source's training shards, which get a second name here;
    `heldout` its held-out documents, which are encoded with the saved `tokenizer`.
    """
    encoder = AutoTokenizer.from_pretrained(tokenizer)
    form = vocabulary.form(encoder, "tokenizer_name_or_path")
    counts: dict[str, int] = {}
    for name, written in training.items():
        shards = sorted(written.glob("train-*"))
        for shard, path in zip(shards, spread([shard.name for shard in shards]), strict=True):
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).hardlink_to(shard)
        rest = write_tokens(folder / name, "heldout", heldout[name], encoder, shard_tokens)
        for split, numbers in {"train": counted(written, "train"), "heldout": rest}.items():
            counts |= {f"{name}/{split}/{what}": number for what, number in numbers.items()}
    return {
        "summary": f"Tokens as little-endian {form['dtype']} (`SOURCE/SPLIT-TASK-NUMBER…bin`) "
        "with a document index beside each file, which is what `load_dataset` loads. "
        f"A document is `{form['documents']}`.",
        "form": form,
        "notes": card_notes(counts),
        "counts": counts,
        "tokens": sum(count for what, count in counts.items() if what.endswith("/train/tokens")),
    }
