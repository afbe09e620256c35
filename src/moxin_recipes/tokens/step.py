"""The last step of a datatrove pipeline writes documents as shards of tokens, task by task."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from moxin_recipes.tokens.write import write_tokens


class WriteTokens(PipelineStep):
    """Writes the shards `SPLIT-TASK-…` of a source below `folder`, and yields no documents.

    A task that runs again writes the same files. `tokens.write.counted` counts over all tasks.
    `tokenizer` is a folder with a saved tokenizer.
    """

    name = "tokens"
    type = "moxin"

    def __init__(self, folder: Path, split: str, tokenizer: Path, shard_tokens: int) -> None:
        super().__init__()
        self.folder, self.split = folder, split
        self.tokenizer, self.shard_tokens = tokenizer, shard_tokens

    def run(
        self,
        data: DocumentsPipeline,
        rank: int = 0,
        world_size: int = 1,  # noqa: ARG002 (the signature of a step)
    ) -> DocumentsPipeline:
        """Writes the tokens of one task's documents."""
        from transformers import AutoTokenizer

        def rows() -> Iterator[dict[str, Any]]:
            for document in data or ():
                yield {
                    "text": document.text,
                    "id": document.id,
                    "origin": document.metadata["origin"],
                }

        with self.track_time():
            tokenizer = AutoTokenizer.from_pretrained(self.tokenizer)
            counts = write_tokens(
                self.folder, self.split, rows(), tokenizer, self.shard_tokens, rank
            )
        for name, number in counts.items():
            self.stat_update(name, value=number)
        yield from ()
