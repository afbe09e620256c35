"""Turns raw text into training sequences on one core, with our code and in four usual ways.

    python -m bench.tokens [BYTES]

Every contender reads the same documents (12 MB of Python's standard library) with the same
tokenizer (the `tokenizer.json` of Mistral's 32,000 pieces), and writes sequences of 2,048 tokens to
disk. Each runs in its own process, in turn, for several rounds. The result is the ratio of medians
of CPU seconds over all threads, which a busy machine changes little. `peak` is the peak of resident
memory, `lost` is the share of tokens that are in no sequence, and `padding` is the share of
positions without a token. The seconds include loading the tokenizer, and our check that the fast
library is exact. Before the first round, our ids are compared with SentencePiece's on every
document.
"""

import json
import multiprocessing
import os
import resource
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BYTES, CONTEXT, ROUNDS = 12_000_000, 2048, 3
Result = dict[str, float]


def write_texts(path: Path, size: int) -> int:
    """Writes documents as JSON lines, up to `size` bytes of text; returns their bytes."""
    bytes_left = size
    root = Path(sysconfig.get_paths()["stdlib"])
    with path.open("w") as file:
        for source in sorted(root.rglob("*.py")):
            if "site-packages" in source.parts or not source.stat().st_size:
                continue
            if source.stat().st_size > bytes_left:
                return size - bytes_left
            bytes_left -= source.stat().st_size
            text = source.read_bytes().decode(errors="replace")
            file.write(json.dumps({"text": text}) + "\n")
    return size - bytes_left


def texts(tokenizer: Path) -> Iterator[str]:
    """Yields the documents, so that no contender has all of them in memory."""
    with (tokenizer.parent / "texts.jsonl").open() as file:
        for line in file:
            yield json.loads(line)["text"]


def fast_tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def ours(tokenizer: Path, out: Path) -> Result:
    from moxin_recipes.tokens.shards import TokenFolder
    from moxin_recipes.tokens.write import write_tokens

    rows = (
        {"text": text, "id": str(i), "origin": "stdlib"} for i, text in enumerate(texts(tokenizer))
    )
    counts = write_tokens(out / "code", "train", rows, fast_tokenizer(tokenizer), 250_000_000)
    shards = TokenFolder(out).shards("code", "train")
    windows = sum(shard.tokens // CONTEXT for shard in shards)
    return {"tokens": counts["tokens"], "kept": windows * CONTEXT, "places": windows * CONTEXT}


def documents(tokenizer: Path) -> Any:
    """Returns a datasets.Dataset of `<s> text </s>` ids, made by `Dataset.map` in batches."""
    from datasets import Dataset

    loaded = fast_tokenizer(tokenizer)
    rows = Dataset.from_generator(lambda: ({"text": text} for text in texts(tokenizer)))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        ids_of_texts = loaded(batch["text"], add_special_tokens=False)["input_ids"]
        return {"input_ids": [[1, *ids, 2] for ids in ids_of_texts]}

    return rows.map(encode, batched=True, remove_columns=["text"])


def total(rows: Any) -> int:
    return sum(len(ids) for ids in rows["input_ids"])


def group_texts(tokenizer: Path, out: Path) -> Result:
    """Joins a batch, cuts it and drops the end, like most pretraining scripts."""
    encoded = documents(tokenizer)

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = [token for ids in batch["input_ids"] for token in ids]
        end = len(joined) // CONTEXT * CONTEXT
        return {"input_ids": [joined[i : i + CONTEXT] for i in range(0, end, CONTEXT)]}

    grouped = encoded.map(group, batched=True)
    grouped.save_to_disk(str(out))
    places = len(grouped) * CONTEXT
    return {"tokens": total(encoded), "kept": places, "places": places}


def trl_packing(tokenizer: Path, out: Path) -> Result:
    from trl import pack_dataset

    encoded = documents(tokenizer)
    packed_rows = pack_dataset(encoded, CONTEXT, "bfd")
    packed_rows.save_to_disk(str(out))
    return {
        "tokens": total(encoded),
        "kept": total(packed_rows),
        "places": len(packed_rows) * CONTEXT,
    }


def datatrove(tokenizer: Path, out: Path) -> Result:
    from datatrove.data import Document
    from datatrove.pipeline.tokens.tokenizer import DocumentTokenizer

    step = DocumentTokenizer(
        str(out), str(tokenizer / "tokenizer.json"), eos_token="</s>", shuffle_documents=False
    )
    rows = (Document(text=text, id=str(i)) for i, text in enumerate(texts(tokenizer)))
    step.run(rows, 0, 1)
    written = sum(path.stat().st_size for path in out.glob("*.ds")) // 2
    places = written // CONTEXT * CONTEXT
    return {"tokens": written, "kept": places, "places": places}


def pad_and_truncate(tokenizer: Path, out: Path) -> Result:
    """Writes one document a row, cut at the context or padded to it, as Moxin's script does."""
    from datasets import Dataset

    loaded = fast_tokenizer(tokenizer)
    loaded.pad_token = "<unk>"
    rows = Dataset.from_generator(lambda: ({"text": text} for text in texts(tokenizer)))
    lengths: list[int] = []

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        ids_of_texts = loaded(batch["text"], add_special_tokens=False)["input_ids"]
        lengths.extend(len(ids) + 2 for ids in ids_of_texts)
        cut = [[1, *ids, 2][:CONTEXT] for ids in ids_of_texts]
        return {
            "input_ids": [ids + [0] * (CONTEXT - len(ids)) for ids in cut],
            "attention_mask": [[1] * len(ids) + [0] * (CONTEXT - len(ids)) for ids in cut],
        }

    padded_rows = rows.map(encode, batched=True, remove_columns=["text"])
    padded_rows.save_to_disk(str(out))
    kept_tokens = sum(min(CONTEXT, length) for length in lengths)
    return {"tokens": sum(lengths), "kept": kept_tokens, "places": len(padded_rows) * CONTEXT}


CONTENDERS: dict[str, Callable[[Path, Path], Result]] = {
    "datatrove DocumentTokenizer": datatrove,
    "datasets.map + group_texts": group_texts,
    "TRL packing (bfd)": trl_packing,
    "pad and truncate (Moxin)": pad_and_truncate,
    "moxin write_tokens": ours,
}


def measured(name: str, tokenizer: Path) -> Result:
    """Runs once in a fresh process on one core; memory includes imports, seconds do not."""
    reader, writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(
        target=_child, args=(name, tokenizer, writer)
    )
    child.start()
    result: Result = json.loads(reader.recv())
    child.join()
    return result


def _child(name: str, tokenizer: Path, writer: Any) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _imports(name)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        start = time.process_time()
        result = CONTENDERS[name](tokenizer, out)
        result["seconds"] = time.process_time() - start
        files = [path for path in out.rglob("*") if path.is_file()]
        result["disk"] = sum(path.stat().st_size for path in files)
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    writer.send(json.dumps(result))


def _imports(name: str) -> None:
    from transformers import PreTrainedTokenizerFast  # noqa: F401

    if name.startswith("moxin"):
        import tuetoken  # noqa: F401

        import moxin_recipes.tokens.write  # noqa: F401
    elif name.startswith("datatrove"):
        import datatrove.pipeline.tokens.tokenizer  # noqa: F401
    else:
        import trl.data_utils  # noqa: F401


def compare(tokenizer: Path) -> int:
    """Counts the documents whose ids differ from SentencePiece's."""
    import numpy as np
    from sentencepiece import SentencePieceProcessor

    from moxin_recipes.tokens import encode, mistral

    backend = fast_tokenizer(tokenizer).backend_tokenizer
    pieces = SentencePieceProcessor(model_file=str(mistral.model_file()))
    encode = encode.proven(backend, list(texts(tokenizer))[:20])
    every = [*texts(tokenizer), *encode.HOSTILE]
    return sum(not np.array_equal(encode([t])[0], pieces.encode(t)) for t in every)


def main(size: int = BYTES) -> None:
    from moxin_recipes.tokens import mistral

    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    runs: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = str(Path(folder) / "cache")
        tokenizer = Path(folder) / "tokenizer"
        mistral.build().save_pretrained(tokenizer)
        size = write_texts(Path(folder) / "texts.jsonl", size)
        print(f"documents whose ids are not SentencePiece's: {compare(tokenizer)}")
        for _ in range(ROUNDS):
            for name in CONTENDERS:
                os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(dir=folder)
                runs[name].append(measured(name, tokenizer))
    datatrove_seconds = statistics.median(
        run["seconds"] for run in runs["datatrove DocumentTokenizer"]
    )
    print(f"{size / 1e6:.1f} MB of text, one core, {ROUNDS} rounds, medians")
    print(f"  {'':29}  ratio   MB/s  tokens/s  peak MB  bytes/token  lost %  padding %")
    for name, results in runs.items():
        seconds = statistics.median(run["seconds"] for run in results)
        first_result = results[0]
        peak = statistics.median(run["peak"] for run in results) / 1e6
        print(
            f"  {name:29}  {datatrove_seconds / seconds:5.2f}  {size / 1e6 / seconds:5.2f}  "
            f"{first_result['tokens'] / seconds:8.0f}  {peak:7.0f}  "
            f"{first_result['disk'] / first_result['kept']:11.2f}  "
            f"{100 - 100 * first_result['kept'] / first_result['tokens']:6.1f}  "
            f"{100 - 100 * first_result['kept'] / first_result['places']:9.1f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
