"""Talk with models: where a text begins, where an answer ends, how much there is room for."""

from pathlib import Path
from typing import Any

import pytest
from tests.tiny import save_tiny_model, tiny_mistral
from transformers import AutoTokenizer, GenerationConfig

from moxin_recipes.models.chat import Talk
from moxin_recipes.tokens.write import train_tokenizer


class Asked(dict[str, Any]):
    """What `generate` was asked with."""


def listening(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked, generate = Asked(), talk._model.generate

    def generated(**options: Any) -> Any:
        asked.update(options)
        return generate(**options)

    monkeypatch.setattr(talk._model, "generate", generated)
    return asked


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base model of 16 positions with BOS and EOS, whose tokenizer adds none."""
    tokenizer = train_tokenizer(["one two three"] * 5, 300)
    tiny_mistral(tokenizer, max_position_embeddings=16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("made_here", [True, False])
def test_a_text_begins_as_in_training_where_it_was_here(
    base: Path, monkeypatch: pytest.MonkeyPatch, made_here: bool
) -> None:
    talk = Talk(base, made_here)
    asked = listening(talk, monkeypatch)
    talk.answer("one two")
    ids, bos = asked["input_ids"][0].tolist(), AutoTokenizer.from_pretrained(base).bos_token_id
    assert ids.count(bos) == made_here
    assert (ids[0] == bos) == made_here


def test_no_prompt_and_no_answer_passes_the_positions(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(base, made_here=True)
    asked = listening(talk, monkeypatch)
    for text in ("one", "one two three " * 50):
        talk.answer(text)
        length = asked["input_ids"].shape[1]
        assert length <= 8
        assert length + asked["generation_config"].max_new_tokens <= 16


def test_all_ends_of_the_published_model_end_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_model(tmp_path)
    GenerationConfig(
        eos_token_id=[2, 5], do_sample=True, temperature=0.6, top_p=0.9, max_length=20
    ).save_pretrained(tmp_path)
    talk = Talk(tmp_path, made_here=False)
    asked = listening(talk, monkeypatch)
    talk.answer("how many?")
    config = asked["generation_config"]
    assert config.eos_token_id == [2, 5]
    assert not config.do_sample
    assert asked["input_ids"].shape[1] + config.max_new_tokens == 256  # its positions
    assert config.max_length is None
