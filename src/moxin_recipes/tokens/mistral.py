"""Mistral's first tokenizer (32,000 pieces), exactly: built from the file in mistral-common.

transformers reads that file without the scores of its pieces, and then splits runs of spaces in
another way than SentencePiece. Here a merge ranks by the score of the piece it makes, and spaces
become `▁` in the normalizer, so the ids are SentencePiece's for every text.
"""

import hashlib
import importlib.metadata
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from moxin_recipes.recipe.strict import RecipeError

_FILE = "mistral_common/data/tokenizer.model.v1"
# Of tokenizer.model of Mistral-7B-v0.1, which the released Moxin models have too.
SUMMARY = (
    "The 32,000 pieces of Mistral-7B-v0.1, which Moxin's models have; ids are SentencePiece's for "
    "every text. `<s>` 1, `</s>` 2, no padding token; nothing is added to a text unless asked for."
)
SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"


def model_file() -> Path:
    """The SentencePiece model that the installed mistral-common carries; the code there is unused.

    Raises RecipeError if the package is missing or its file is another one.
    """
    try:
        found = Path(str(importlib.metadata.distribution("mistral-common").locate_file(_FILE)))
    except importlib.metadata.PackageNotFoundError:
        raise RecipeError(
            "the Mistral tokenizer is built from a file of mistral-common, which is not installed; "
            "`pip install mistral-common`"
        ) from None
    if not found.exists() or hashlib.sha256(found.read_bytes()).hexdigest() != SHA256:
        raise RecipeError(
            f"{found} is not the 32k model of Mistral-7B-v0.1; `pip install mistral-common==1.5.6`"
        )
    return found


def build() -> PreTrainedTokenizerFast:
    """The tokenizer: `<unk>` 0, `<s>` 1, `</s>` 2, then 256 bytes, merged pieces and characters.

    No BOS is added by itself, and there is no padding token: whoever pads names one (`<unk>`, never
    `</s>`, whose label would be masked with the padding).
    """
    file = model_file()
    from sentencepiece import SentencePieceProcessor  # it comes with mistral-common

    pieces = SentencePieceProcessor(model_file=str(file))
    ids = range(pieces.get_piece_size())
    names = [pieces.id_to_piece(i) for i in ids]
    apart = [
        names[i] for i in ids if pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_byte(i)
    ]
    vocabulary = {name: i for i, name in enumerate(names)}
    scores = {name: pieces.get_score(i) for i, name in enumerate(names)}
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            generate_merges(vocabulary, scores, apart),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),  # the space that the normalizer put before the text
        ]
    )
    controls = [AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    tokenizer.add_special_tokens(controls)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )
