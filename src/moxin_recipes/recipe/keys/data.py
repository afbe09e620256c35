"""The keys of `data`: sources, what is done to their documents, and generated sets."""

import codecs
import pkgutil
import re
from dataclasses import dataclass, field
from encodings import aliases
from typing import Annotated, Literal

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from moxin_recipes.recipe import limits
from moxin_recipes.recipe.base import StageKeys, need
from moxin_recipes.recipe.bounds import Bounds, Count, Positive, PositiveShare, Share
from moxin_recipes.recipe.evaluation_sets import (
    EVALUATION_INPUT,
    MADE_HERE,
    EvaluationSet,
    check_distinct,
    check_sets,
)
from moxin_recipes.recipe.fields import (
    DATASET_OUTPUT,
    HARMLESS,
    MEASURE,
    MODEL_INPUT,
    MODEL_OUTPUT,
)
from moxin_recipes.recipe.strict import RecipeError, near

# Within and across the sources that name them; in this order, whatever the order given.
DedupName = Literal["exact", "bloom", "minhash"]
Operations = Annotated[int, Bounds(1, 8)]  # of a generated problem
SMALLEST_VOCABULARY = 256 + 4


@dataclass(kw_only=True)
class Source:
    """One source of documents: real text of this machine, or files of a dataset on the Hub.

    Steps: normalise (NFC), `filters`, `dedup`, `late_filters`, decontaminate.
    """

    name: str
    # Or REPOSITORY[@REVISION] on the Hub, or a file or folder of this machine: ./my-texts
    dataset: str = field(default="local", metadata=EVALUATION_INPUT)
    files: list[str] = field(default_factory=lambda: ["*"])  # patterns; kinds.py has what is read
    encoding: str | None = None  # of files that are neither UTF-8 nor begin with a mark: cp1252
    # What stands between the documents of a .txt or .md file; without it each file is one.
    separator: str | None = None
    file_share: PositiveShare = 1.0  # of those files, a seeded choice; the list is published
    text_column: str = "text"  # or a field in a column: `page.body`
    text_template: str | None = None  # instead: Jinja over all columns, `{{ ctx }} {{ ending }}`
    url_column: str = "url"  # for the filter of that name; may be missing
    license_column: str = "license"  # where rows have one: else `license`
    license: str = "unknown"
    max_bytes: Positive | None = None
    min_characters: Count = 200  # for the filter `short`
    heldout_fraction: Share = 0.01  # of the documents, by content hash; never trained on
    filters: list[str] = field(default_factory=lambda: ["short"])  # files of documents/filters/
    dedup: list[DedupName] = field(default_factory=lambda: ["exact"])
    late_filters: list[str] = field(default_factory=list)  # after deduplication


@dataclass(kw_only=True)
class Minhash:
    """Near duplicates: P(match) at a Jaccard similarity s is 1 - (1 - s^hashes)^buckets."""

    unit: Literal["words", "characters"]
    ngrams: Positive  # units of a shingle
    buckets: Positive
    hashes: Positive  # of a bucket


@dataclass(kw_only=True)
class Bloom:
    """Repeated paragraphs and documents, by word n-grams in a Bloom filter for each task."""

    ngrams: Positive
    # Share of n-grams seen before, at which a paragraph or a document goes.
    threshold: PositiveShare
    capacity: Positive  # n-grams of a task; memory is 1.2 bytes for each at 1 % false positives
    false_positives: Annotated[float, Bounds(0, 1, above=True, below=True)]


@dataclass(kw_only=True)
class Model:
    """A fastText model on the Hub: documents need a score of `threshold` for `label`."""

    model: str = field(metadata=MODEL_INPUT)  # REPOSITORY[@REVISION]
    file: str
    label: str  # without __label__
    threshold: Share


@dataclass(kw_only=True)
class DocumentKeys:
    """Keys from raw documents to clean ones."""

    sources: list[Source] = field(default_factory=list)
    minhash: Minhash | None = None
    bloom: Bloom | None = None
    decontaminate: list[EvaluationSet] = field(default_factory=list, metadata=MEASURE)
    language: Model | None = None
    classifier: Model | None = None
    tasks: Positive = 1  # parts of each step; another number orders documents otherwise
    executor: Literal["local", "slurm", "ray"] = field(default="local", metadata=HARMLESS)
    workers: Positive = field(default=1, metadata=HARMLESS)  # tasks at a time
    slurm_partition: str | None = field(default=None, metadata=HARMLESS)
    slurm_time: str = field(default="24:00:00", metadata=HARMLESS)  # of a task
    slurm_memory: Positive = field(default=4, metadata=HARMLESS)  # GB of a task

    def check_documents(self, has_problems: bool) -> None:
        """Each source, step and evaluation set has what it needs; names are distinct and known."""
        check_distinct("sources", [source.name for source in self.sources])
        for position, source in enumerate(self.sources):
            self._check_source(f"sources[{position}]", source)
        check_sets(self.decontaminate)
        for position, wanted in enumerate(self.decontaminate):
            key = f"decontaminate[{position}].dataset"
            if wanted.dataset == "problems" and not has_problems:
                raise RecipeError(f"`{key}`: problems, but there is no `hub_problems_id`")
            if wanted.dataset == "local":
                raise RecipeError(
                    f"`{key}`: local text is no evaluation set; name a dataset, or `problems` or "
                    "`heldout` of this stage"
                )
        if self.executor == "slurm" and not self.slurm_partition:
            raise RecipeError("`slurm_partition` is missing: `executor: slurm` needs it")

    def _check_source(self, key: str, source: Source) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", source.name):
            raise RecipeError(
                f"`{key}.name`: {source.name!r} names a folder; use letters, digits, -, _ and ."
            )
        if not source.files:
            raise RecipeError(f"`{key}.files` is empty: nothing would be read")
        if source.encoding is not None and not _is_encoding(source.encoding):
            raise RecipeError(
                f"`{key}.encoding`: there is no text encoding {source.encoding!r}"
                f"{near(source.encoding, set(aliases.aliases.values()))} (such are utf-8, cp1252, "
                "gb18030, shift_jis, utf-16-le)"
            )
        if source.separator == "":
            raise RecipeError(f"`{key}.separator` is empty; leave it out, or give what it is")
        if source.text_template is not None:
            _check_template(f"{key}.text_template", source.text_template)
        if source.dataset == "local":
            _known(
                f"{key}.name", source.name, "moxin_recipes.documents.local:NAMES", "local source"
            )
        elif source.dataset in MADE_HERE or not source.dataset:
            raise RecipeError(f"`{key}.dataset`: {source.dataset!r} is no source of documents")
        if source.heldout_fraction == 1:
            raise RecipeError(f"`{key}.heldout_fraction`: 1 leaves nothing to train on")
        for which in ("filters", "late_filters"):
            for name in getattr(source, which):
                where = "moxin_recipes.documents.filters:names"
                _known(f"{key}.{which}", name, where, "filter")
                if name in ("language", "classifier") and getattr(self, name) is None:
                    raise RecipeError(f"`{name}` is missing: `{key}.{which}` has {name}")
        for name in source.dedup:
            if name != "exact" and getattr(self, name) is None:
                raise RecipeError(f"`{name}` is missing: `{key}.dedup` has it; give its numbers")


@dataclass(kw_only=True)
class DataKeys(StageKeys, DocumentKeys):
    """Raw documents and generated problems → corpus, tokenizer, tokens, chat sets.

    Without `sources` the stage makes the generated sets alone.
    """

    hub_corpus_id: str | None = field(default=None, metadata=DATASET_OUTPUT)
    hub_tokens_id: str | None = field(default=None, metadata=DATASET_OUTPUT)
    # A tokenizer that is made here; or else tokenizer_name_or_path. It decides how documents stand
    # in the tokens: `BOS text EOS`, or `text MARK` where it has one mark (tokens/framing.py).
    hub_tokenizer_id: str | None = field(default=None, metadata=MODEL_OUTPUT)
    hub_chat_id: str | None = field(default=None, metadata=DATASET_OUTPUT)
    hub_preferences_id: str | None = field(default=None, metadata=DATASET_OUTPUT)
    hub_problems_id: str | None = field(default=None, metadata=DATASET_OUTPUT)
    tokenizer_name_or_path: str | None = field(default=None, metadata=MODEL_INPUT)
    tokenizer: Literal["train", "mistral"] = "train"  # what hub_tokenizer_id gets
    vocab_size: Positive = 32000  # of one that is trained
    heldout_bytes: Positive = (
        20_000  # of each source, for the set that bits per byte are measured on
    )
    tokenizer_bytes: Positive = 1_000_000  # of each source, that a new tokenizer is trained on
    shard_tokens: Positive = 100_000_000
    maths_documents: Count = 0
    problem_kind: Literal["sums", "stories"] = "sums"  # stories: grade-school word problems
    chat_rows: Count = 0
    chat_steps: list[Operations] = field(default_factory=list)  # operations of chains in chats
    preference_rows: Count = 0
    problem_rows: Count = 0  # to distill
    rl_rows: Count = 0
    test_rows: Count = 0  # of each held-out split
    chain_steps: list[Operations] = field(
        default_factory=lambda: [2, 3, 4]
    )  # operations, to distill
    rl_steps: list[Operations] = field(default_factory=lambda: [2, 3, 4])  # operations, for GRPO
    # Operations held out apart from `test`, as `longer`.
    longer_steps: list[Operations] = field(default_factory=list)

    def check(self) -> None:
        """Each output that is wanted has a name and what it is made of."""
        super().check()
        trained = self.hub_tokenizer_id and self.tokenizer == "train"
        if trained and self.vocab_size < SMALLEST_VOCABULARY:
            raise RecipeError(
                f"`vocab_size` must be at least {SMALLEST_VOCABULARY}, not {self.vocab_size}: each "
                "byte has a piece, and each special token"
            )
        made = [source.name for source in self.sources if source.dataset == "local"]
        if "maths-text" in made and not self.maths_documents:
            raise RecipeError("`maths_documents` is missing: the source maths-text is made of them")
        if set(self.rl_steps) <= set(self.longer_steps):
            raise RecipeError("`longer_steps` takes all of `rl_steps`, and leaves none for `test`")
        if not self.chain_steps or not self.rl_steps:
            raise RecipeError("`chain_steps` and `rl_steps` name at least one number of operations")
        documents = ("hub_corpus_id", "hub_tokens_id")
        if self.sources:
            need(self, documents, "documents of `sources` go there")
            if bool(self.tokenizer_name_or_path) == bool(self.hub_tokenizer_id):
                raise RecipeError(
                    "`hub_tokenizer_id` is missing, or one too many: tokens need a tokenizer that "
                    "is made here, or the one of `tokenizer_name_or_path`"
                )
        else:
            for key in (*documents, "hub_tokenizer_id"):
                if getattr(self, key):
                    raise RecipeError(f"`{key}`: it is made of documents, and `sources` is missing")
            if not (self.hub_chat_id or self.hub_preferences_id or self.hub_problems_id):
                raise RecipeError("`sources` is missing, and no generated set has a name either")
        # A token takes at most four bytes.
        limits.check_file("shard_tokens", 4 * self.shard_tokens, "a shard of tokens")
        self.check_documents(bool(self.hub_problems_id))


def _check_template(key: str, text: str) -> None:
    try:
        SandboxedEnvironment().from_string(text)  # as it will be rendered; knows the filters
    except jinja2.TemplateSyntaxError as error:
        raise RecipeError(f"`{key}`: not a Jinja template: {error.message}") from error


def _is_encoding(name: str) -> bool:
    """Whether Python reads text of this encoding, piece after piece."""
    try:
        return codecs.getincrementaldecoder(name)().decode("a".encode(name), True) == "a"
    except (LookupError, ValueError, TypeError):
        return False


def _known(key: str, name: str, place: str, what: str) -> None:
    """Raises RecipeError unless the package lists the name at `place` (MODULE:LIST or FUNCTION)."""
    names = pkgutil.resolve_name(place)
    known = list(names() if callable(names) else names)
    if name not in known:
        raise RecipeError(
            f"`{key}`: there is no {what} {name}{near(name, known)} (there are {', '.join(known)})"
        )
