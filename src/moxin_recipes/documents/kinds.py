"""The kinds of data files, by their names: which are read, and how they may be packed."""

from pathlib import PurePosixPath

# Ending → how rows are read.
KINDS = {
    ".txt": "text",
    ".md": "text",
    ".csv": "table",
    ".tsv": "table",
    ".json": "json",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".parquet": "parquet",
}
PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd"}
READ = f"read are {', '.join(KINDS)}, each also as {', '.join(PACKED)}"
_OF_REPOSITORIES = ("README.md", "moxin.json")  # what a repository says of itself


def kind_of(file: str) -> tuple[str, str | None] | None:
    """(kind, packing) of a file by its name; None for a kind that is not read."""
    path = PurePosixPath(file.lower())
    packing = PACKED.get(path.suffix)
    kind = KINDS.get((path.with_suffix("") if packing else path).suffix)
    return (kind, packing) if kind else None


def is_data(file: str) -> bool:
    """Whether a file of a repository may hold data: not a card, a manifest, or a hidden one."""
    parts = PurePosixPath(file).parts
    return parts[-1] not in _OF_REPOSITORIES and not any(part.startswith(".") for part in parts)
