"""Raw documents → corpus, tokenizer, tokens and (small ladders) generated chat and problem sets.

The paper's §3.4 data: documents are normalised, split into train and held-out by a hash of their
content, filtered, deduplicated and decontaminated (documents/), and packed as tokens.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.data \
      --config recipes/moxin-nano/00-data.yaml

Needs: nothing, or the datasets under `sources`. Pushes: every repository named `hub_…_id`. The
steps of the preparation stay in `steps/` of `output_dir`: what a changed recipe does not change is
not made again.
"""

from itertools import chain
from pathlib import Path
from typing import Any

from moxin_recipes.documents import account, corpus
from moxin_recipes.documents.pipeline import Documents
from moxin_recipes.documents.prepare import first_texts, heldout, prepare
from moxin_recipes.hub.files import clear
from moxin_recipes.problems import sets
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.recipe.resume import STEPS
from moxin_recipes.run import Run, launch
from moxin_recipes.tokens import build, mistral, vocabulary

GIVEN = "tokenizer"  # a folder
Outputs = dict[str, tuple[Path, dict[str, Any]]]


def main(run: Run[DataKeys, None]) -> None:
    """Builds each output below the stage's folder and pushes them together."""
    keys = run.keys
    if keys.tokenizer == "mistral":
        mistral.model_file()  # missing, it is an error now and not after hours
    if keys.tokenizer_name_or_path:
        prove_tokenizer(run)
    outputs: Outputs = {}
    for key in sets.BY_KEY:
        if getattr(keys, key):
            folder = clear(run.folder / key)
            outputs[key] = (folder, sets.write(key, folder, keys))
    problems = run.folder / "hub_problems_id" if keys.hub_problems_id else None
    documents = prepare(keys, run.folder / STEPS, run.pull, run.parent, problems)
    if keys.sources:
        outputs |= texts(run, keys, documents)
        account.say(documents)
    run.finish({key: outputs[key] for key in run.recipe.outputs if key in outputs})
    documents.forget_others()


def texts(run: Run[DataKeys, None], keys: DataKeys, documents: Documents) -> Outputs:
    """Corpus, tokenizer and tokens of the `sources`."""
    folder = clear(run.folder / "hub_corpus_id")
    outputs: Outputs = {"hub_corpus_id": (folder, corpus.write(documents, folder))}
    of_text = {
        name: outputs["hub_corpus_id"][1][name]
        for name in ("licenses", "contamination", "distributions")
    }
    if keys.tokenizer_name_or_path:
        tokenizer = run.state / GIVEN
    else:
        tokenizer = clear(run.folder / "hub_tokenizer_id")
        chats = sets.sample_texts(keys) if keys.hub_chat_id else []
        learned = chain(chats, first_texts(documents, keys.tokenizer_bytes))
        facts = build.save_tokenizer(tokenizer, keys.tokenizer, keys.vocab_size, learned)
        outputs["hub_tokenizer_id"] = (
            tokenizer,
            facts | {name: of_text[name] for name in ("licenses", "distributions")},
        )
    folder, facts = tokens(run, keys, documents, tokenizer)
    return {**outputs, "hub_tokens_id": (folder, facts | of_text)}


def prove_tokenizer(run: Run[DataKeys, None]) -> None:
    """Saves the tokenizer of `tokenizer_name_or_path` as a fast one; or a RecipeError, at once."""
    key = "tokenizer_name_or_path"
    vocabulary.proven(run.pull(key), key).save_pretrained(clear(run.state / GIVEN))


def tokens(
    run: Run[DataKeys, None], keys: DataKeys, documents: Documents, tokenizer: Path
) -> tuple[Path, dict[str, Any]]:
    """The tokens of each source; the held-out part is cut to the same bytes for every source."""
    folder = clear(run.folder / "hub_tokens_id")
    names = [source.name for source in keys.sources]
    training = {name: documents.tokens(name, tokenizer, keys.shard_tokens) for name in names}
    rest = {name: heldout(name, documents, keys) for name in names}
    return folder, build.save_tokens(folder, tokenizer, training, rest, keys.shard_tokens)


if __name__ == "__main__":
    launch(main, DataKeys)
