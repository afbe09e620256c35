"""The cards of a finished ladder: what they show of real manifests works as it is written."""

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.conftest import Workplace
from tests.test_ladder import python

READ = """
import json
from huggingface_hub import HfApi, hf_hub_download
paths = {name: hf_hub_download("local/moxin-nano-release", name, revision="release")
         for name in ("README.md", "lineage.svg", "moxin.json")}
cards = {name: open(path).read() for name, path in paths.items()}
for repo, revision in (("base", "pretrain-enhance"), ("base", "init"), ("sft", "sft"),
                       ("sft", "step-000003"), ("reasoning", "grpo")):
    name = f"local/moxin-nano-{repo}"
    cards[f"{repo}@{revision}"] = open(hf_hub_download(name, "README.md", revision=revision)).read()
print(json.dumps(cards))
"""


@pytest.fixture(scope="module")
def texts(finished: Workplace) -> dict[str, str]:
    """The files of the release, and cards by REPOSITORY@REVISION."""
    read: dict[str, str] = json.loads(python(finished, READ))
    return read


def test_the_page_of_a_release_says_what_the_stages_did(texts: dict[str, str]) -> None:
    page, made = texts["README.md"], json.loads(texts["moxin.json"])["release"]
    rows = [(row["stage"], row["since"]) for row in made["scores"]]
    for change in (
        ("20-pretrain-2k", "10-init"),
        ("22-pretrain-enhance", "21-pretrain-4k"),
        ("31-dpo", "30-sft"),
        ("31-dpo", "22-pretrain-enhance"),  # choices, of the scores repository
        ("42-grpo", "41-cot-sft"),
    ):
        assert change in rows
    for row in made["scores"]:
        assert f"| {row['stage']} | {row['measure']} | " in page
        if row["items"]:
            assert row["after"]["low"] <= row["after"]["value"] <= row["after"]["high"]
    for data in ("corpus: stdlib-code", "chat", "cot-data"):
        assert f"| moxin-nano-{data} | " in page
    assert "| 00-data | choices | 40 | " in page
    stages = [row["stage"] for row in made["costs"]]
    assert [name[:2] for name in stages] == [
        "00", "10", "20", "21", "22", "30", "31", "40", "41", "42", "50"
    ]  # fmt: skip
    assert "base_model:\n- local/moxin-nano-cot\nbase_model_relation: finetune\n" in page
    assert re.search(r"\n\| the source package-readmes \| .*MPL-2\.0", page)
    seen = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert not re.search(r"[0-9a-f]{40}", seen)
    root = ET.fromstring(texts["lineage.svg"])  # noqa: S314 (it is ours)
    words = "".join(root.itertext())
    assert "moxin-nano-cot (41-cot-sft) → moxin-nano-reasoning (42-grpo)." in words
    assert "moxin-nano-problems (made by 00-data) → moxin-nano-cot-data (made by 40-di" in words


def test_how_to_use_it_works_as_written(finished: Workplace, texts: dict[str, str]) -> None:
    code = []
    for name, asked in (
        ("README.md", r'turns = \[\{"role": "user", "content": ".*\d[+-]\d.*"\}\]'),
        ("sft@sft", r'turns = \[\{"role": "user", "content": ".*\d[+-]\d.*"\}\]'),
        ("base@pretrain-enhance", r'print\(write\("Question: .*\\n", max_new_tokens=\d+\)'),
    ):
        found = re.search(r"```python\n(.*?)```", texts[name], re.DOTALL)
        assert found, name
        assert re.search(asked, found[1]), found[1]
        code.append(found[1])
    python(finished.cold(), "\n".join(code))
    assert 'eval "$(moxin hub env)"' in texts["sft@sft"]
    assert "## Use" not in texts["base@init"]


@pytest.mark.parametrize("card", ["sft@sft", "sft@step-000003", "reasoning@grpo"])
def test_each_card_names_where_it_stands(texts: dict[str, Any], card: str) -> None:
    assert f"\nmoxin replay local/moxin-nano-{card}\n" in texts[card]
    assert "\nbase_model_relation: finetune\n" in texts[card]
    assert "parameters in F32." in texts[card]
