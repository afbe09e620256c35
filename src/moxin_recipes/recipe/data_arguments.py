"""The keys of the stage `data`: sources, what is done to their documents, and where it runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

# By document, in the order given; documents/filters/ has a file for each.
FilterName = Literal[
    "short",  # fewer than `min_characters`, counted as SlimPajama does
    "blank_lines",  # keeps one blank line in a row; takes nothing out
    "url",  # RefinedWeb's ban lists of domains and words
    "language",  # the fastText model of `language`
    "gopher_quality",  # Gopher's rules on words, symbols, lines and stop words
    "gopher_repetition",  # Gopher's rules on repeated lines, paragraphs and n-grams
    "lines",  # RefinedWeb's corrections by line
    "fineweb_quality",  # FineWeb's rules on lines
    "classifier",  # the fastText model of `classifier`
]
# Within and across the sources that name them; in this order, whatever the order given.
DedupName = Literal["exact", "bloom", "minhash"]
RuleName = Literal["8-gram", "13-gram", "whole"]  # documents/contamination.py says what they find
MADE_HERE = ("local", "problems", "heldout")  # what is no repository under the key `dataset`


@dataclass(kw_only=True)
class Source:
    """One source of documents: real text of this machine, or files of a dataset on the Hub.

    Steps: normalise (NFC), `filters`, `dedup`, `late_filters`, decontaminate.
    """

    name: str
    dataset: str = "local"  # or REPOSITORY[@REVISION] on the Hub
    files: list[str] = field(default_factory=lambda: ["*"])  # patterns of jsonl, parquet files
    file_share: float = 1.0  # of those files, a seeded choice; the list is published
    text_column: str = "text"
    text_template: str | None = None  # instead: Jinja over all columns, `{{ ctx }} {{ ending }}`
    url_column: str = "url"  # for the filter of that name; may be missing
    license_column: str = "license"  # where rows have one: else `license`
    license: str = "unknown"
    max_bytes: int | None = None
    min_characters: int = 200  # for the filter `short`
    heldout_fraction: float = 0.01  # of the documents, by content hash; never trained on
    filters: list[FilterName] = field(default_factory=lambda: ["short"])
    dedup: list[DedupName] = field(default_factory=lambda: ["exact"])
    late_filters: list[FilterName] = field(default_factory=list)  # after deduplication


@dataclass(kw_only=True)
class Minhash:
    """Near duplicates: P(match) at a Jaccard similarity s is 1 - (1 - s^hashes)^buckets."""

    unit: Literal["words", "characters"]
    ngrams: int  # units of a shingle
    buckets: int
    hashes: int  # of a bucket


@dataclass(kw_only=True)
class Bloom:
    """Repeated paragraphs and documents, by word n-grams in a Bloom filter for each task."""

    ngrams: int
    threshold: float  # share of n-grams seen before, at which a paragraph or a document goes
    capacity: int  # n-grams of a task; memory is 1.2 bytes for each at 1 % false positives
    false_positives: float


@dataclass(kw_only=True)
class Model:
    """A fastText model on the Hub: documents need a score of `threshold` for `label`."""

    model: str  # REPOSITORY[@REVISION]
    file: str
    label: str  # without __label__
    threshold: float


@dataclass(kw_only=True)
class EvaluationSet:
    """Items that no training document may hold; the first column is the question."""

    name: str
    dataset: str  # REPOSITORY[@REVISION]; `problems`: those of this stage; `heldout`: its documents
    configs: list[str] | None = None  # ["*"]: all of the repository
    split: str = "test"
    columns: list[str] = field(default_factory=lambda: ["text"])  # `choices.text`: a field in one
    rules: list[RuleName] = field(default_factory=lambda: ["8-gram", "13-gram"])


@dataclass(kw_only=True)
class DocumentArguments:
    """Keys from raw documents to clean ones."""

    sources: list[Source] = field(default_factory=list)
    minhash: Minhash | None = None
    bloom: Bloom | None = None
    language: Model | None = None
    classifier: Model | None = None
    decontaminate: list[EvaluationSet] = field(default_factory=list)
    tasks: int = 1  # parts that each step is cut into; another number orders documents otherwise
    executor: Literal["local", "slurm", "ray"] = "local"
    workers: int = 1  # tasks at a time
    slurm_partition: str | None = None
    slurm_time: str = "24:00:00"  # of a task
    slurm_memory: int = 4  # GB of a task


def inputs(values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(key, type of repository, REPOSITORY[@REVISION]) of each input in the nested keys."""
    for key in ("sources", "decontaminate", "traces"):
        for position, item in enumerate(values.get(key) or []):
            if item.get("dataset", "local") not in MADE_HERE:
                yield f"{key}[{position}]", "dataset", str(item["dataset"])
    for key in ("language", "classifier"):
        if isinstance(values.get(key), dict):
            yield key, "model", str(values[key].get("model"))
