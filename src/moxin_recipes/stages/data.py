"""Raw documents → corpus, tokenizer, tokens and (small ladders) generated chat and problem sets.

The paper's §3.4 data: documents are normalised, split into train and held-out by a hash of their
content, filtered, deduplicated and decontaminated (data/documents.py), and packed as uint16 tokens.

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.data --config recipes/moxin-nano/00-data.yaml

Needs: nothing, or the datasets under `sources`. Pushes: every repository named `hub_…_id`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from moxin_recipes.documents import corpus, evaluation_sets
from moxin_recipes.documents.local import MATHS
from moxin_recipes.documents.normalize import digest
from moxin_recipes.documents.pipeline import Documents, cut
from moxin_recipes.problems import arithmetic_rows, sets
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.run import Run, clear, launch
from moxin_recipes.tokens import mistral
from moxin_recipes.tokens.write import card_notes, counted, train_tokenizer, write_tokens

Outputs = dict[str, tuple[Path, dict[str, Any]]]


def main(run: Run[DataKeys, None]) -> None:
    """Builds each output below the stage's folder and pushes them together."""
    own = run.keys
    if own.tokenizer == "mistral":
        mistral.model_file()  # missing, it is an error now and not after hours
    outputs: Outputs = problems(run, own)
    if own.sources:
        outputs |= texts(run, own, outputs.get("hub_problems_id"))
    run.finish({key: outputs[key] for key in run.recipe.outputs if key in outputs})


def texts(
    run: Run[DataKeys, None], own: DataKeys, made: tuple[Path, dict[str, Any]] | None
) -> Outputs:
    """Corpus, tokenizer and tokens of the `sources`; `made` are the problem sets of this stage."""
    outputs: Outputs = {}
    documents = prepare(run, own, made)
    corpus_folder = clear(run.folder / "hub_corpus_id")
    outputs["hub_corpus_id"] = (corpus_folder, corpus.write(documents, corpus_folder))
    if own.tokenizer_name_or_path:
        tokenizer = run.pull("tokenizer_name_or_path")
    else:
        outputs["hub_tokenizer_id"] = build_tokenizer(run, own, documents)
        tokenizer = outputs["hub_tokenizer_id"][0]
    report = outputs["hub_corpus_id"][1]["contamination"]
    outputs["hub_tokens_id"] = build_tokens(run, own, documents, tokenizer, report)
    return outputs


def problems(run: Run[DataKeys, None], own: DataKeys) -> Outputs:
    """The generated sets that the recipe names."""
    kinds: dict[str, tuple[Callable[[Path, DataKeys], dict[str, int]], str]] = {
        "hub_chat_id": (sets.chat, "Chats of one turn, made by a program."),
        "hub_preferences_id": (sets.preferences, "Right answers beside worse ones."),
        "hub_problems_id": (
            sets.problems,
            "Problems with answers; no training split shares an expression with a held-out one.",
        ),
    }
    outputs: Outputs = {}
    for key, (build, summary) in kinds.items():
        if getattr(own, key):
            folder = clear(run.folder / key)
            outputs[key] = (folder, {"summary": summary, "counts": build(folder, own)})
    return outputs


def prepare(
    run: Run[DataKeys, None], own: DataKeys, made: tuple[Path, dict[str, Any]] | None
) -> Documents:
    """Every step from raw to clean documents; `made` are the problem sets of this stage."""
    documents = Documents(own, run.state / "documents", run.pull)
    for position, source in enumerate(own.sources):
        parent = None if source.dataset == "local" else run.parent(f"sources[{position}]")
        documents.clean(source, parent, own.seed, own.maths_documents)
    documents.exact()
    documents.bloom()
    documents.minhash()
    for source in own.sources:
        documents.late(source)
    if own.decontaminate:
        folder = made[0] if made else None
        measured = (
            row
            for source in own.sources
            for row in cut(documents.rows(source.name, "heldout"), own.heldout_bytes)
        )
        items = evaluation_sets.items(own.decontaminate, run.pull, folder, measured)
        documents.decontaminate(items)
    return documents


def build_tokenizer(
    run: Run[DataKeys, None], own: DataKeys, documents: Documents
) -> tuple[Path, dict[str, Any]]:
    """Mistral's own, or a byte-level BPE trained on a part of each source's documents."""
    folder = clear(run.folder / "hub_tokenizer_id")
    if own.tokenizer == "mistral":
        mistral.build().save_pretrained(folder)
        return folder, {"summary": mistral.SUMMARY}
    texts = sets.sample_texts(own) if own.hub_chat_id else []
    for source in own.sources:
        left = own.tokenizer_bytes
        for document in documents.rows(source.name, "train"):
            if left <= 0:
                break
            texts.append(document["text"])
            left -= len(document["text"])
    tokenizer = train_tokenizer(texts, own.vocab_size)
    tokenizer.save_pretrained(folder)
    return folder, {"summary": f"Byte-level BPE of {len(tokenizer)} pieces; digits stay single."}


def build_tokens(
    run: Run[DataKeys, None],
    own: DataKeys,
    documents: Documents,
    saved: Path,
    contamination: list[dict[str, Any]],
) -> tuple[Path, dict[str, Any]]:
    """uint16 shards of each source; the held-out part is cut to the same bytes for every source."""
    folder = clear(run.folder / "hub_tokens_id")
    tokenizer = AutoTokenizer.from_pretrained(saved)
    counts: dict[str, int] = {}
    for source in own.sources:
        name = source.name
        written = documents.tokens(name, saved, own.shard_tokens)
        for shard in sorted(written.glob("train-*")):
            corpus.link(shard, folder / name / shard.name)
        rest = heldout(name, documents, own)
        made = {
            "train": counted(written, "train"),
            "heldout": write_tokens(folder / name, "heldout", rest, tokenizer, own.shard_tokens),
        }
        for split, numbers in made.items():
            counts |= {f"{name}/{split}/{what}": number for what, number in numbers.items()}
    total = sum(number for what, number in counts.items() if what.endswith("/train/tokens"))
    facts = {
        "summary": "Tokens as little-endian uint16 (`SOURCE/SPLIT-TASK-NUMBER.bin`) with a "
        "document index beside each file, which is what `load_dataset` loads.",
        "notes": card_notes(counts),
        "license": "other",
        "counts": counts,
        "tokens": total,
        "contamination": contamination,
    }
    return folder, facts


def heldout(name: str, documents: Documents, own: DataKeys) -> Iterator[dict[str, Any]]:
    """The first `heldout_bytes` of the held-out documents; for maths, sums of the test split."""
    rows = documents.rows(name, "heldout")
    if name == MATHS:
        made = arithmetic_rows.maths_documents("test", own.seed, 2000)
        distinct = {row["text"].strip(): row for row in made}
        rows = ({**row, "text": text, "id": digest(text)} for text, row in distinct.items())
    return cut(rows, own.heldout_bytes)


if __name__ == "__main__":
    launch(main, DataKeys)
