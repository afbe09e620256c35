"""A process that makes a tokens repository on the Hub, or reads one as training does."""

import fcntl
import hashlib
import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

from moxin_recipes import environment

# As the launch of a stage does, before the libraries are imported.
if __name__ == "__main__":
    environment.choose()

from moxin_recipes.hub import session
from moxin_recipes.hub.pull import resolve
from moxin_recipes.hub.push import push
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.keys.pretrain import MixtureItem
from moxin_recipes.tokens import cache
from moxin_recipes.tokens.cache import HubTokens
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Order
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.write import train_tokenizer, write_tokens

CONTEXT = 32
SHARD = 2000  # tokens, and a little more; 4 kB
ITEMS = [
    MixtureItem(source="a", weight=0.7, epochs=9),
    MixtureItem(source="b", weight=0.3, epochs=9),
]


def make(folder: Path) -> None:
    """Some 16 shards of source a and 8 of b, pushed as `tokens@data`."""
    words = [f"word{i}" for i in range(300)]
    tokenizer = train_tokenizer([" ".join(words)], 400)
    for seed, (source, count) in enumerate((("a", 400), ("b", 200))):
        rng = random.Random(seed)
        documents = [
            {"text": " ".join(rng.choices(words, k=40)), "id": f"{source}{i}", "origin": f"o/{i}"}
            for i in range(count)
        ]
        write_tokens(folder / source, "train", documents, tokenizer, SHARD)
    manifest: dict[str, Any] = {
        "stage": "data", "recipe_name": "00-data", "recipe_file": "recipes/x/00-data.yaml",
        "key": "k", "recipe": {"stage": "data"}, "parents": [], "licenses": [],
        "code": {"version": "0"}, "flags": {}, "launcher": {},
        "libraries": {}, "seconds": 1.0, "summary": "Tokens.",
        "hardware": {"machine": "m", "cpus": 1, "gpus": [], "processes": 1},
    }  # fmt: skip
    push(folder, "tokens", "dataset", manifest, private=True, tags=("data",))


def order(tokens: HubTokens | TokenFolder, group: int) -> Order:
    """Order over both sources."""
    shards = {item.source: tokens.shards(item.source, "train") for item in ITEMS}
    return Order(shards, ITEMS, CONTEXT, seed=3, group=group)


def read(task: dict[str, Any]) -> dict[str, Any]:
    """Reads the places of one rank; digest of what came, and the most that the cache ever held."""
    folder = Path(task["cache"])
    tokens: HubTokens | TokenFolder
    if task.get("local"):
        tokens = TokenFolder(Path(task["local"]))
    else:
        parent = resolve(Reference("dataset_name", "dataset", "tokens", "data"))
        tokens = HubTokens(parent, folder, task["limit"])
    if task.get("wait"):
        sys.stderr.write("ready\n")
        sys.stderr.flush()
        sys.stdin.readline()
    mixture = Mixture(tokens, order(tokens, task["group"]), task["length"], Framing(1, 2))
    digest, most = hashlib.sha256(), 0
    for place in range(task["rank"], task["length"], task["ranks"]):
        digest.update(mixture[place]["input_ids"].tobytes())
        if place % 10 == 0 and (folder / "locks").exists():
            if task.get("delete"):
                for path in [path for path in folder.iterdir() if path.is_file()][:1]:
                    path.unlink(missing_ok=True)
            most = max(most, held(folder))
    return {"digest": digest.hexdigest(), "most": most}


def held(folder: Path) -> int:
    """Bytes in a cache, downloads under way included; nothing is deleted or begun meanwhile."""
    with (folder / "locks" / "room").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = [path for path in folder.iterdir() if path.is_file()]
        parts = [path for path in folder.glob("*.part/*/*.bin") if path.is_file()]
        return sum(path.stat().st_size for path in (*files, *parts) if path.exists())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("moxin_recipes.tokens.cache").setLevel(logging.DEBUG)
    task_arguments = json.loads(sys.argv[1])
    if "pauses" in task_arguments:
        cache.PAUSES = tuple(task_arguments["pauses"])
    if "make" in task_arguments:
        session.start()
        make(Path(task_arguments["make"]))
    else:
        sys.stdout.write(json.dumps(read(task_arguments)))
