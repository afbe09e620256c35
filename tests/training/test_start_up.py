"""Many ranks start as one does: one asks the Hub, one of each node downloads, all are told."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.busy_hub import Door, door
from tests.training.pretraining import Pretraining
from tests.warm import Process, Warm
from torch.distributed import TCPStore

from moxin_hub import launcher

MANY, A_NODE = 8, 4


@dataclass
class StartUp:
    """Launches of many ranks, whose Hub is behind a door."""

    pretraining: Pretraining
    warm: Warm
    environment: dict[str, str]
    door: Door

    def ranks(self, recipe: Path, count: int, a_node: int = 64) -> list[Process]:
        """The processes, which have ended; none has anything of an earlier launch."""
        shutil.rmtree(self.environment["HF_HOME"], ignore_errors=True)
        self.door.asked.clear()
        # The launcher hosts the store, and its processes end when they like.
        store = TCPStore("127.0.0.1", 0, count, is_master=True, wait_for_workers=False)
        given = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(min(a_node, count)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "ACCELERATE_USE_CPU": "true",
        }
        started = []
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank % a_node)} if count > 1 else {}
            words = ["tests.training.start_up", "--config", str(recipe)]
            started.append(self.warm.begin(words, self.environment | (given | own if own else {})))
        for process in started:
            process.wait()
        return started

    def asked(self, recipe: Path, count: int, a_node: int = 64) -> Counter[str]:
        """What a launch that goes well asks the Hub: `METHOD path` → times."""
        for process in self.ranks(recipe, count, a_node):
            assert process.wait() == 0, process.errors.read_text()[-3000:]
        return Counter(self.door.asked)


@pytest.fixture(scope="module")
def start_up(
    pretraining: Pretraining, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartUp]:
    who = launcher.identity(pretraining.place.home / "hub")
    with door(who.endpoint) as opened:
        environment = pretraining.place.environment(
            HF_ENDPOINT=opened.endpoint,
            HF_TOKEN=who.token,
            HF_HUB_DISABLE_XET="1",
            HF_HOME=str(tmp_path_factory.mktemp("cache") / "hf"),
            NO_PROXY="127.0.0.1",
            OMP_NUM_THREADS="1",
        )
        # (The parser, which each process would import late.)
        modules = ["moxin_recipes.stages.pretrain", "trl.scripts.utils"]
        with Warm(modules, environment) as warm:
            yield StartUp(pretraining, warm, warm._environment, opened)


def recipe(start_up: StartUp, name: str, **changes: Any) -> Path:
    batch = {"global_batch_size": 64, "per_device_train_batch_size": 1, "max_steps": 1}
    # (Whether it may push is asked in other words where the repository is there already.)
    return start_up.pretraining.recipe(name, push_to_hub=False, **batch, **changes)


def test_many_ranks_ask_as_often_as_one(start_up: StartUp) -> None:
    one = start_up.asked(recipe(start_up, "one"), 1)
    nodes = start_up.asked(recipe(start_up, "nodes"), MANY, A_NODE)
    # The first process of the other node asks for files alone, unless it shares a disk with this.
    of_all = [path for path in one if "whoami" in path or "/revision/" in path]
    assert [nodes[path] for path in of_all] == [1, 1, 1]
    assert all(times <= MANY // A_NODE for times in nodes.values())


def test_a_busy_hub_is_waited_for_as_it_says(start_up: StartUp) -> None:
    start_up.door.refusals = [
        (429, {"retry-after": "1"}),
        (503, {"Retry-After": "0"}),
        (429, {"ratelimit": '"api";r=0;t=0'}),
        (502, {}),
    ]
    path = recipe(start_up, "busy")
    processes = start_up.ranks(path, 2)
    said = processes[0].errors.read_text()
    assert [process.wait() for process in processes] == [0, 0], said[-3000:]
    assert start_up.door.refusals == []
    for line in ("busy (429); asked again in 1 s", "busy (503); asked again in 0 s", "busy (502)"):
        assert line in said


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dataset_name": "nowhere@data"}, "`dataset_name`: local/nowhere@data: no such repo"),
        ({"mixture": [{"source": "nothing", "weight": 1.0}]}, "nothing"),
        ({"global_batch_size": 7}, "`global_batch_size` 7 is not a multiple"),
    ],
    ids=["on the Hub", "of all", "before the Hub"],
)
def test_an_error_ends_all_ranks_and_is_said_once(
    start_up: StartUp, changes: dict[str, Any], line: str
) -> None:
    path = start_up.pretraining.recipe("wrong", max_steps=1, **changes)
    processes = start_up.ranks(path, 2)
    assert [process.wait() for process in processes] == [1, 1]
    errors = [process.errors.read_text() for process in processes]
    assert sum(text.count("error: ") for text in errors) == 1, errors
    assert line in "".join(errors)


@pytest.mark.soak
def test_sixty_four_ranks_ask_as_often_as_one(start_up: StartUp) -> None:
    one = start_up.asked(recipe(start_up, "alone"), 1)
    assert start_up.asked(recipe(start_up, "sixty-four"), 64) == one
    nodes = start_up.asked(recipe(start_up, "eight-nodes"), 64, a_node=8)
    assert all(times <= 8 for times in nodes.values())
