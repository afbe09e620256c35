"""Turns raw text into training sequences on one core, with our code and in four usual ways.

    python -m bench tokens [BYTES]

Every contender reads distinct documents (Python's library, then torch's, pandas' and sympy's
sources) with the same tokenizer (the `tokenizer.json` of Mistral's 32,000 pieces), and writes
sequences of 2,048 tokens to disk. datatrove and we read 100 MB; the three other ways, which nobody
takes for much text, read every tenth document of it. Each runs in its own process with one thread;
every other round has the order reversed. Time is CPU seconds over all threads; it includes loading
the tokenizer, and our check that the fast library is exact. A ratio is of rates within a round:
its median and its range. `peak` is the peak of resident memory,
`lost` is the share of tokens in no sequence, `padding` the share of positions without a token.
Before the first round, our ids are compared with SentencePiece's on every tenth document.
"""

import itertools
import json
import multiprocessing
import os
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BYTES, CONTEXT, ROUNDS = 100_000_000, 2048, 5
DATATROVE_BATCH = 100  # documents: less memory than its default of 10,000, and no more time
IDS_ALONE = {
    "add_special_tokens": False,
    "return_attention_mask": False,
    "return_token_type_ids": False,
}
PACKAGES = (
    *("tuetoken", "tokenizers", "datatrove", "datasets", "trl", "transformers", "numpy"),
    *("sentencepiece", "torch", "pandas", "sympy"),
)
Result = dict[str, float]


def sources() -> Iterator[bytes]:
    """Yields source files, each content once."""
    paths = sysconfig.get_paths()
    library, packages = Path(paths["stdlib"]), Path(paths["purelib"])
    seen = {b""}
    for root in (library, *(packages / name for name in ("torch", "pandas", "sympy"))):
        for path in sorted(root.rglob("*.py")):
            if root == library and "site-packages" in path.parts:
                continue
            content = path.read_bytes()
            if content not in seen:
                seen.add(content)
                yield content


def write_texts(path: Path, size: int, share: int) -> int:
    """Writes `1 / share` of the documents of `size` bytes as JSON lines; returns their bytes."""
    read = written = 0
    with path.open("w") as file:
        for number, content in enumerate(sources()):
            read += len(content)
            if read > size:
                break
            if number % share == 0:
                written += len(content)
                file.write(json.dumps({"text": content.decode(errors="replace")}) + "\n")
    return written


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
        ids_of_texts = loaded(batch["text"], **IDS_ALONE)["input_ids"]
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
        str(out),
        str(tokenizer / "tokenizer.json"),
        eos_token="</s>",
        shuffle_documents=False,
        batch_size=DATATROVE_BATCH,
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
        ids_of_texts = loaded(batch["text"], **IDS_ALONE)["input_ids"]
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


WHOLE = ("datatrove DocumentTokenizer", "moxin write_tokens")  # read all; the others a tenth
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
    status = Path("/proc/self/status").read_text()  # getrusage begins with the parent's peak
    result["peak"] = 1024 * int(status.split("VmHWM:")[1].split()[0])
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
    ours = encode.proven(backend, list(itertools.islice(texts(tokenizer), 20)))
    every = itertools.chain(texts(tokenizer), encode.HOSTILE)
    return sum(not np.array_equal(ours([text])[0], pieces.encode(text)) for text in every)


def main() -> None:
    """Prints the table; the text has so many bytes as the command line says."""
    size = int(sys.argv[2]) if len(sys.argv) > 2 else BYTES
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    from bench.machine import machine
    from moxin_recipes.tokens import mistral

    runs: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        tokenizers = {share: Path(folder) / f"{share}" / "tokenizer" for share in (1, 10)}
        sizes = {}
        for share, tokenizer in tokenizers.items():
            mistral.build().save_pretrained(tokenizer)
            sizes[share] = write_texts(tokenizer.parent / "texts.jsonl", size, share)
        different = compare(tokenizers[10])
        print(machine(*PACKAGES))
        print(f"documents whose ids are not SentencePiece's: {different}", flush=True)
        for number in range(ROUNDS):
            for name in list(CONTENDERS)[:: -1 if number % 2 else 1]:
                os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(dir=folder)
                share = 1 if name in WHOLE else 10
                result = measured(name, tokenizers[share])
                result["rate"] = sizes[share] / 1e6 / result["seconds"]
                runs[name].append(result)
    print(f"{sizes[1] / 1e6:.1f} MB of text, one thread, medians of {ROUNDS} rounds (range)")
    print(f"  {'':28}  ratio              MB/s  peak MB  bytes/token  lost %  padding %")
    for name, results in runs.items():
        print(f"  {name:28}  {row(results, runs['datatrove DocumentTokenizer'])}")


def row(results: list[Result], baseline: list[Result]) -> str:
    ratios = [run["rate"] / other["rate"] for run, other in zip(results, baseline, strict=True)]
    rate, peak = (statistics.median(run[key] for run in results) for key in ("rate", "peak"))
    tokens, kept, places, disk = (results[0][key] for key in ("tokens", "kept", "places", "disk"))
    return (
        f"{statistics.median(ratios):4.2f} ({min(ratios):4.2f}–{max(ratios):4.2f})  {rate:6.2f}  "
        f"{peak / 1e6:7.0f}  {disk / kept:11.2f}  {100 - 100 * kept / tokens:6.1f}  "
        f"{100 - 100 * kept / places:9.1f}"
    )
