"""Builds Mistral's first tokenizer (32,000 pieces) exactly, from a file of mistral-common.

transformers reads that file without the scores of its pieces, and then splits runs of spaces
differently from SentencePiece. Here the score of a piece ranks the merge that makes it, and the
normalizer turns spaces into `▁`. So the ids are SentencePiece's for every text.
"""

import hashlib
import importlib.metadata
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from moxin_recipes.recipe.strict import RecipeError

_FILE = "mistral_common/data/tokenizer.model.v1"
SUMMARY = (
    "The 32,000 pieces of Mistral-7B-v0.1, which Moxin's models have; ids are SentencePiece's for "
    "every text. `<s>` 1, `</s>` 2, no padding token; nothing is added to a text unless asked for."
)
# The sha256 of tokenizer.model of Mistral-7B-v0.1; the released Moxin models have the same file.
SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"


def model_file() -> Path:
    """Returns the SentencePiece model file of the installed mistral-common.

    The code of that package is not used. Raises RecipeError if the package is missing or has
    another file.
    """
    try:
        path = Path(str(importlib.metadata.distribution("mistral-common").locate_file(_FILE)))
    except importlib.metadata.PackageNotFoundError:
        raise RecipeError(
            "the Mistral tokenizer is built from a file of mistral-common, which is not installed; "
            "`pip install mistral-common`"
        ) from None
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise RecipeError(
            f"{path} is not the 32k model of Mistral-7B-v0.1; `pip install mistral-common==1.5.6`"
        )
    return path


def build() -> PreTrainedTokenizerFast:
    """Returns the tokenizer: `<unk>` 0, `<s>` 1, `</s>` 2, 256 bytes, merged pieces, characters.

    It adds no BOS by itself, and it has no padding token. Who pads must name one: `<unk>`, never
    `</s>`, whose label would be masked together with the padding.
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
