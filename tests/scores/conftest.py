"""A Hub with small benchmarks in the columns of the real ones, and tiny models to ask."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Workplace, serving
from tests.test_ladder import python

from moxin_recipes.scores import records

PUSH = """
import json, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from datasets import Dataset
from huggingface_hub import HfApi
from transformers import AutoTokenizer
from tests.tiny import save_tiny_model

api, folder = HfApi(), Path({folder!r})


def put(repo, config, **splits):
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    card = ["---", "configs:", f"- config_name: {{config}}", "  data_files:"]
    for split, rows in splits.items():
        Dataset.from_list(rows).to_parquet(folder / repo / config / f"{{split}}.parquet")
        card += [f"  - split: {{split}}", f"    path: {{config}}/{{split}}.parquet"]
    (folder / repo / "README.md").write_text("\\n".join([*card, "---", ""]))
    api.upload_folder(repo_id=repo, folder_path=folder / repo, repo_type="dataset")


def arc(count, start, shift=0):
    return [
        {{
            "id": f"q{{start + i}}",
            "question": f"how many is {{start + i}} and {{i}}?",
            "choices": {{
                "text": [str(2 * i + start), str(i), "none of them", "12 or 13"],
                "label": ["A", "B", "C", "D"],
            }},
            "answerKey": "ABCD"[(i * 7 + start + shift) % 4],
        }}
        for i in range(count)
    ]


def gsm(count, start):
    return [
        {{
            "question": f"{{start + i}} and {{i}}. how many?",
            "answer": f"so\\n#### {{2 * i + start}}",
        }}
        for i in range(count)
    ]
"""
BENCHMARKS = """
put("allenai/ai2_arc", "ARC-Easy", train=arc(9, 100), validation=arc(5, 50), test=arc(30, 0))
put("openai/gsm8k", "main", train=gsm(9, 100), test=gsm(12, 0))
for name in ("plain", "ours", "adds"):
    model, tokenizer = save_tiny_model(folder / name)
    if name == "plain":
        tokenizer.chat_template = None
    if name == "adds":  # BOS by itself, as Llama's does
        from tokenizers.processors import TemplateProcessing
        bos = tokenizer.bos_token
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)])
    tokenizer.save_pretrained(folder / name)
    if name == "plain":
        (folder / name / "chat_template.jinja").unlink(missing_ok=True)
    else:
        (folder / name / "moxin.json").write_text(json.dumps({"payload": name, "tokens": 1}))
    api.create_repo(f"someone/{name}", exist_ok=True)
    api.upload_folder(repo_id=f"someone/{name}", folder_path=folder / name)
"""


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A place whose Hub has two benchmarks and three models; commands start at once."""
    folder = tmp_path_factory.mktemp("bench")
    place = Workplace(folder / "home", folder / "recipes" / "scores")
    place.ladder.mkdir(parents=True)
    with serving(place), place.warmed() as warmed:
        python(warmed, push_code(folder / "made") + BENCHMARKS)
        yield warmed


def push_code(folder: Path) -> str:
    """The beginning of a plain process that pushes benchmarks."""
    return PUSH.format(root=str(Path(__file__).parent.parent.parent), folder=str(folder))


def evaluate(
    place: Workplace, evaluations: list[dict[str, Any]], *words: str, **keys: Any
) -> tuple[int, str, Path]:
    """Runs one recipe of the stage; its exit code, what it said, and its folder."""
    models = list(dict.fromkeys(str(one["model"]) for one in evaluations))
    recipe = {"stage": "evaluate", "models": models, "evaluations": evaluations}
    recipe |= {"hub_scores_id": "scores", "dtype": "float32", "eval_batch_size": 7} | keys
    (place.ladder / "50-evaluate.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    done = place.launch("evaluate", "50-evaluate", *words)
    return done.returncode, done.stderr, place.home / "runs" / "scores" / "50-evaluate"


def units(folder: Path) -> list[dict[str, Any]]:
    """The units of a run's result."""
    return records.read_units(folder / "hub_scores_id")


def items(folder: Path, unit: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of one of them, its scores read."""
    rows = records.read_items(folder / "hub_scores_id" / unit["items"])
    return [row | {"scores": json.loads(row["scores"])} for row in rows]


TABLE = """
import json
from datasets import load_dataset
print(json.dumps(list(load_dataset({repo!r}, split="test"))))
"""


def table(place: Workplace, repo: str) -> list[dict[str, Any]]:
    """The table of pushed scores, as anybody loads it."""
    rows: list[dict[str, Any]] = json.loads(python(place, TABLE.format(repo=f"local/{repo}")))
    return rows
