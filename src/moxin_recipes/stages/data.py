"""Raw documents → corpus, tokenizer, tokens and (small ladders) generated chat and problem sets.

The paper's §3.4 data: documents are normalised, filtered, exactly deduplicated, split into train
and held-out by a hash of their content, and packed as uint16 tokens.

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.data --config recipes/moxin-nano/00-data.yaml

Needs: nothing, or the datasets under `sources`. Pushes: every repository named `hub_…_id`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from moxin_recipes.arguments import DataArguments
from moxin_recipes.data import arithmetic_rows, mistral_tokenizer, problem_sets, sources
from moxin_recipes.data.cleaning import Cleaner
from moxin_recipes.data.tokens import card_notes, train_tokenizer, write_tokens
from moxin_recipes.run import Run, clear, launch

Documents = dict[str, list[dict[str, Any]]]
Outputs = dict[str, tuple[Path, dict[str, Any]]]


def main(run: Run) -> None:
    """Builds each output below the stage's folder and pushes them together."""
    own: DataArguments = run.arguments
    outputs: Outputs = {}
    corpus, outputs["hub_corpus_id"] = build_corpus(run, own)
    if own.tokenizer_name_or_path:
        tokenizer = AutoTokenizer.from_pretrained(run.pull("tokenizer_name_or_path"))
    else:
        tokenizer, outputs["hub_tokenizer_id"] = build_tokenizer(run, own, corpus)
    outputs["hub_tokens_id"] = build_tokens(run, own, corpus, tokenizer)
    sets: dict[str, tuple[Callable[[Path, DataArguments], dict[str, int]], str]] = {
        "hub_chat_id": (problem_sets.chat, "Chats of one turn, made by a program."),
        "hub_preferences_id": (problem_sets.preferences, "Right answers beside worse ones."),
        "hub_problems_id": (
            problem_sets.problems,
            "Sums with answers; splits share no expression.",
        ),
    }
    for key, (build, summary) in sets.items():
        if getattr(own, key):
            folder = clear(run.folder / key)
            outputs[key] = (folder, {"summary": summary, "counts": build(folder, own)})
    run.finish(outputs)


def build_corpus(run: Run, own: DataArguments) -> tuple[Documents, tuple[Path, dict[str, Any]]]:
    """Clean documents of each source in `train` and `heldout`, the removed ones beside them."""
    folder = clear(run.folder / "hub_corpus_id")
    cleaner = Cleaner()
    corpus: Documents = {}
    licenses: dict[str, list[str]] = {}
    for position, source in enumerate(own.sources):
        on_hub = None if source.dataset == "local" else run.pull(f"sources[{position}]")
        raw = sources.documents(source, position, on_hub, own)
        kept = list(cleaner.clean(raw, source.min_characters, source.heldout_fraction))
        licenses[source.name] = sorted({document["license"] for document in kept})
        corpus[source.name] = kept
        for split in ("train", "heldout"):
            _write(folder / source.name / f"{split}.parquet", kept, split)
    _write(folder / "removed" / "train.parquet", cleaner.removed)
    notes = [f"- {name}: {', '.join(names)}" for name, names in licenses.items()]
    facts = {
        "summary": "Clean, exactly deduplicated documents; `removed` has what was taken out, "
        "with the reason of each. `heldout` is never trained on.",
        "license": "other",
        "counts": dict(sorted(cleaner.counts.items())),
        "notes": ["## Licences by source\n", *notes],
    }
    return corpus, (folder, facts)


def _write(path: Path, documents: list[dict[str, Any]], split: str | None = None) -> None:
    """Writes the documents of a split; nothing where it has none, which no client could load."""
    names = ["text", "source", "license", "origin", "id" if split else "reason"]
    rows = [d for d in documents if split is None or d["split"] == split]
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in names}
    pq.write_table(pa.table(columns), path)


def build_tokenizer(
    run: Run, own: DataArguments, corpus: Documents
) -> tuple[PreTrainedTokenizerBase, tuple[Path, dict[str, Any]]]:
    """Mistral's own, or a byte-level BPE trained on a part of each source's documents."""
    folder = clear(run.folder / "hub_tokenizer_id")
    if own.tokenizer == "mistral":
        tokenizer = mistral_tokenizer.build()
        tokenizer.save_pretrained(folder)
        return tokenizer, (folder, {"summary": mistral_tokenizer.SUMMARY})
    texts = problem_sets.sample_texts(own) if own.hub_chat_id else []
    for documents in corpus.values():
        left = own.tokenizer_bytes
        for document in documents:
            if document["split"] == "train" and left > 0:
                texts.append(document["text"])
                left -= len(document["text"])
    tokenizer = train_tokenizer(texts, own.vocab_size)
    tokenizer.save_pretrained(folder)
    facts = {"summary": f"Byte-level BPE of {len(tokenizer)} pieces; digits stay single."}
    return tokenizer, (folder, facts)


def build_tokens(
    run: Run, own: DataArguments, corpus: Documents, tokenizer: PreTrainedTokenizerBase
) -> tuple[Path, dict[str, Any]]:
    """uint16 shards of each source; the held-out part is cut to the same bytes for every source."""
    folder = clear(run.folder / "hub_tokens_id")
    counts: dict[str, int] = {}
    for name, documents in corpus.items():
        parts = {
            "train": [d for d in documents if d["split"] == "train"],
            "heldout": _heldout(name, documents, own),
        }
        for split, rows in parts.items():
            made = write_tokens(folder / name, split, rows, tokenizer, own.shard_tokens)
            counts |= {f"{name}/{split}/{what}": number for what, number in made.items()}
    total = sum(number for what, number in counts.items() if what.endswith("/train/tokens"))
    facts = {
        "summary": "Tokens as little-endian uint16 (`SOURCE/SPLIT-TASK-NUMBER.bin`) with a "
        "document index beside each file, which is what `load_dataset` loads.",
        "notes": card_notes(counts),
        "license": "other",
        "counts": counts,
        "tokens": total,
    }
    return folder, facts


def _heldout(
    name: str, documents: list[dict[str, Any]], own: DataArguments
) -> list[dict[str, Any]]:
    """The first `heldout_bytes` of the held-out documents; for maths, sums of the test split."""
    rows = [d for d in documents if d["split"] == "heldout"]
    if name == sources.MATHS:
        made = arithmetic_rows.maths_documents("test", own.seed, 2000)
        rows = list(Cleaner().clean(made, 1, 1.0))
    kept, left = [], own.heldout_bytes
    for row in rows:
        text = row["text"].encode()[:left].decode(errors="ignore")
        left -= len(text.encode())
        if text:
            kept.append({**row, "text": text})
    return kept


if __name__ == "__main__":
    launch(main)
