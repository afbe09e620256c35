"""What the page of a push shows at once, what it folds away, and how its model is used."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.numpy import save_file
from test_push_and_pull import MANIFEST

from moxin_hub import markup
from moxin_recipes.hub.cards import render

A, B = "a" * 40, "b" * 64
HELD_OUT = [{"role": "user", "content": 'What\'s 9-1? "Now".'}]


def parent(key: str, repo: str, kind: str = "model") -> dict[str, str]:
    return {
        "key": key,
        "type": kind,
        "repo": repo,
        "revision": "data",
        "commit": A,
        "payload": B,
    }


def manifest(**more: Any) -> dict[str, Any]:
    made = [parent("model_name_or_path", "me/base"), parent("dataset_name", "me/chat", "dataset")]
    of = {"code": {"version": "0", "commit": A}, "installed": {"numpy": "1"}, "key": B}
    return {**MANIFEST, **of, "payload": B, "parents": made, **more}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The files of a small model that chats."""
    config = {"max_position_embeddings": 2048, "sliding_window": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    save_file({"w": np.zeros((3, 5), np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def block(page: str, language: str = "python") -> str:
    found = re.search(f"```{language}\n(.*?)```", page, re.DOTALL)
    assert found, page
    return found[1]


def unfolded(page: str) -> str:
    """The text that shows at once."""
    return re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)


def test_a_measure_stands_beside_its_error(model: Path) -> None:
    metrics = {"accuracy": 0.75, "accuracy_stderr": 0.02, "ended": 1}
    page = render("me/x", "model", manifest(metrics=metrics), model)
    assert "| accuracy | 0.7500 | 0.0200 |\n| ended | 1 | – |\n\n" in page


def test_hashes_and_what_was_installed_are_folded_away(model: Path) -> None:
    counts = {f"source {number}": number for number in range(13)}
    rows = [
        {"source": f"s{n}", "set": "t", "documents": n, "found_items": 1, "items": 9,
         "too_short": 0} for n in range(13)
    ]  # fmt: skip
    for repo_type in ("model", "dataset"):
        more = {"counts": counts, "contamination": rows, "distributions": {"docs": ["numpy 1"]}}
        page = render("me/x", repo_type, manifest(**more), model, "sft")
        seen = unfolded(page)
        assert not re.search(r"[0-9a-f]{40}", seen)
        for text in (A, B, "numpy 1", "stage: sft", "| source 12 | 12 |"):
            assert text in page
            assert text not in seen
        assert "Taken out: 78, counted for each set by itself." in seen
        assert "| s12 |" not in seen
        few = render("me/x", repo_type, manifest(counts={"kept": 1}), model)
        assert "| kept | 1 |" in unfolded(few)
        shown = str(markup.card(page, "/me/x/resolve/main", "me/x"))
        assert shown.count("<details>") == shown.count("</details>") == page.count("<details>")
        assert shown.count("<summary>") == shown.count("<details>")
        assert "&lt;" not in shown


@pytest.mark.parametrize(
    ("revision", "named"), [("main", "me/x"), ("sft", "me/x@sft"), ("step-000100", None)]
)
def test_it_is_made_again_where_it_stands(model: Path, revision: str, named: str | None) -> None:
    page = render("me/x", "model", manifest(flags={"seed": 7}), model, revision)
    assert f"\nmoxin replay {named or f'me/x@{revision}'}\n" in page
    assert "-m moxin_recipes.stages.sft --config recipes/x/30-sft.yaml --seed 7\n" in page


class Said:
    """Stands for transformers, and keeps how it was called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def pipeline(self, *words: Any, **named: Any) -> Any:
        self.calls.append((words, named))
        return self._answer

    def _answer(self, asked: Any, **named: Any) -> Any:
        self.calls.append((asked, named))
        turns = [*asked, {"content": "8"}] if isinstance(asked, list) else asked
        return [{"generated_text": turns}]


def run(page: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    said = Said()
    monkeypatch.setitem(sys.modules, "transformers", said)
    exec(block(page), {})  # noqa: S102 (it is what the card says to do)
    return said.calls


@pytest.mark.parametrize(
    ("example", "system"),
    [
        (HELD_OUT, ""),
        ([{"role": "system", "content": "Be <brief>, it's late."}, *HELD_OUT], "Be <brief>"),
        (None, ""),
        ("text of a base model", ""),
    ],
)
def test_a_chat_is_asked_what_it_never_saw(
    model: Path, monkeypatch: pytest.MonkeyPatch, example: Any, system: str
) -> None:
    made = manifest(example=example, recipe={"stage": "sft", "eval_max_new_tokens": 16})
    page = render("me/x", "model", made, model, "sft")
    calls = run(page, monkeypatch)
    assert calls[0] == (("text-generation",), {"model": "me/x", "revision": "sft"})
    asked, options = calls[1]
    assert asked[-1]["role"] == "user"
    assert isinstance(example, list) == (asked == example)
    assert options == {"max_new_tokens": 16}
    assert "\ntransformers chat me/x@sft" in page
    assert ("--system-prompt" in page) == bool(system)
    assert system in page


def test_a_base_model_goes_on_with_a_text(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model / "chat_template.jinja").unlink()
    page = render("me/x", "model", manifest(example='"9-1\\n='), model)
    calls = run(page, monkeypatch)
    assert calls[0] == (("text-generation",), {"model": "me/x"})
    assert calls[1][0] == '"9-1\\n='
    assert "transformers chat" not in page


@pytest.mark.parametrize("what", ["random weights", "no weights", "a dataset"])
def test_nothing_is_shown_where_there_is_nothing_to_use(model: Path, what: str) -> None:
    recipe = {"stage": "init", "method": "scratch"} if what == "random weights" else {"stage": "x"}
    if what == "no weights":
        (model / "config.json").unlink()
    kind = "dataset" if what == "a dataset" else "model"
    assert "## Use" not in render("me/x", kind, manifest(recipe=recipe), model)


@pytest.mark.parametrize(
    ("stage", "method", "keys", "adapter", "expected"),
    [
        ("sft", None, ["model_name_or_path"], False, (["me/base"], "finetune")),
        ("pretrain", None, ["model_name_or_path"], False, (["me/base"], "finetune")),
        ("grpo", None, ["model_name_or_path"], True, (["me/base"], "adapter")),
        ("init", "average", ["models", "models"], False, (["me/base", "me/other"], "merge")),
        ("init", "expand", ["model_name_or_path"], False, (["me/base"], None)),
        ("init", "scratch", ["tokenizer_name_or_path"], False, (None, None)),
        ("data", None, [], False, (None, None)),
    ],
)
def test_the_base_model_and_how_it_was_made_from_it(
    model: Path, stage: str, method: str, keys: list[str], adapter: bool, expected: Any
) -> None:
    names = ["me/base", "me/other"]
    parents = [parent(key, name) for key, name in zip(keys, names, strict=False)]
    if adapter:
        (model / "adapter_config.json").write_text("{}")
    of = {"stage": stage, "parents": parents, "recipe": {"stage": stage, "method": method}}
    data = ModelCard(render("me/x", "model", manifest(**of), model)).data
    assert (data.base_model, data.get("base_model_relation")) == expected


def test_a_phase_has_not_itself_as_its_base(model: Path) -> None:
    data = ModelCard(render("me/base", "model", manifest(stage="pretrain"), model)).data
    assert data.base_model is None
    assert data.datasets == ["me/chat"]


def test_limits_and_cost_are_what_is_known(model: Path) -> None:
    costly = {"seconds": 12000.0, "tokens": 4096, "energy_kwh": 0.5, "price": 3.0}
    page = render("me/x", "model", manifest(**costly), model)
    for line in (
        "- Size: 15 parameters in F32.",
        "- Context: 2,048 tokens; each token sees the last 128.",
        "- Trained in this stage on me/chat (what came before is on the card of its base model).",
        "3 hours 20 minutes on 1 m CPUs, 1 process, 4,096 tokens, about 0.5 kWh (by `gpu_watts`), "
        "a price of 3.00 (by `gpu_price`).",
    ):
        assert line in page
    (model / "model.safetensors").write_bytes(b"no weights")
    assert "Size" not in render("me/x", "model", manifest(), model)
    (model / "config.json").write_text("no config")
    assert "## Limits" not in render("me/x", "model", manifest(), model)
    assert "1 seconds on 1 m CPUs, 1 process.\n" in render("me/x", "dataset", manifest(), model)
