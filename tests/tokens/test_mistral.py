"""The Mistral tokenizer beside SentencePiece: the same ids on everything, in every library."""

import hashlib
import random
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, MistralConfig, PreTrainedTokenizerBase

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens import encode, mistral

PIECES = [
    *("<s>", "</s>", "<unk>", "<pad>", "[INST]", "<0x0A>", "<", "s", ">", "/"),
    *(" ", "  ", "   ", "▁", "▁▁", "\t", "\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\xa0"),
    *("\u200b", "\u200d", "\u2028", "\u3000", "\ufeff", "\ufffd", "\uffff", "\U0010ffff"),
    *("🙂", "👩‍👩‍👧", "é", "e\u0301", "数", "العربية", "\ue000", "a", "Aa", "the", "123", "0"),
]


def hostile(rng: random.Random) -> str:
    """Pieces that libraries disagree on, among characters from all of Unicode but surrogates."""
    parts = []
    for _ in range(rng.randrange(1, 24)):
        other = chr(rng.choice([rng.randrange(0x250), rng.randrange(0xE000, 0x110000)]))
        parts.append(rng.choice([rng.choice(PIECES), other, chr(rng.randrange(0xD800))]))
    return "".join(parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `moxin tokenizer mistral --out DIR` leaves."""
    out = tmp_path_factory.mktemp("mistral")
    moxin = Path(sys.executable).parent / "moxin"
    command = [str(moxin), "tokenizer", "mistral", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{out}: 32,000 pieces\n"
    return out


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loaded as every stage loads it, with the config of a Mistral beside it."""
    MistralConfig().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pieces() -> SentencePieceProcessor:
    return SentencePieceProcessor(model_file=str(mistral.model_file()))


@pytest.fixture(scope="module")
def both(tokenizer: PreTrainedTokenizerBase) -> dict[str, encode.Encode]:
    fast = encode.fast(tokenizer.backend_tokenizer)
    assert fast is not None
    return {"tokenizers": encode.reference(tokenizer.backend_tokenizer), "tuetoken": fast}


def library(share: float) -> list[str]:
    """Source files of the standard library, a seeded `share` of them."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    chosen = random.Random(0).sample(paths, round(share * len(paths)))
    return [path.read_bytes().decode(errors="replace") for path in chosen]


def test_the_fast_library_equals_sentencepiece_on_the_whole_standard_library(
    both: dict[str, encode.Encode], pieces: SentencePieceProcessor
) -> None:
    texts = library(1.0)
    ids, counts = both["tuetoken"](texts)
    assert len(texts) > 500
    expected = pieces.encode(texts, num_threads=2)
    assert counts.tolist() == [len(row) for row in expected]
    assert ids.tolist() == [i for row in expected for i in row]


@pytest.mark.parametrize("share", [0.15, pytest.param(1.0, marks=pytest.mark.soak)])
def test_the_tokenizer_equals_sentencepiece(
    both: dict[str, encode.Encode], pieces: SentencePieceProcessor, share: float
) -> None:
    texts = library(share)
    ids, _ = both["tokenizers"](texts)
    assert ids.tolist() == [i for row in pieces.encode(texts, num_threads=1) for i in row]


def test_ids_are_sentencepieces_on_ten_thousand_hostile_strings(
    both: dict[str, encode.Encode], pieces: SentencePieceProcessor
) -> None:
    texts: list[str] = []

    @seed(0)
    @settings(
        max_examples=1000,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64))
    def collect(start: int) -> None:
        rng = random.Random(start)
        texts.extend(hostile(rng) for _ in range(12))

    collect()
    distinct = list(dict.fromkeys(texts))
    assert len(texts) >= 10_000
    assert len(distinct) > 10_000
    expected = [i for row in pieces.encode(texts, num_threads=1) for i in row]
    for name, encoded in both.items():
        assert encoded(texts)[0].tolist() == expected, name


def test_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    assert tokenizer.pad_token is None
    assert len(tokenizer) == 32_000
    assert tokenizer("a")["input_ids"] == [264]  # nothing is added
    assert tokenizer("<s>a</s>")["input_ids"][0] == 1  # in a prompt, marks are marks
    for text in ("a  b", " lead", "x\n\n  y\t🙂 数"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistral, "SHA256", hashlib.sha256(b"").hexdigest())
    with pytest.raises(RecipeError, match="is not the 32k model"):
        mistral.build()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(RecipeError, match="`pip install mistral-common`"):
        mistral.model_file()
