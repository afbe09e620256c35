"""Lists of many files: each name is looked at a few times, and the Hub is asked for a list once."""

import fnmatch
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import huggingface_hub._snapshot_download as snapshot
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache
from huggingface_hub.utils import _paths

from moxin_recipes.documents import sources
from moxin_recipes.hub import pull, session
from moxin_recipes.hub.files import groups
from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.keys.data import Source

COMMIT = "60" * 20
STRANGE = ["a[1].jsonl", "a1.jsonl", "b*.jsonl", "bx.jsonl", "c?/d e.jsonl", "c?/dxe.jsonl"]


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a name was held against a pattern, and a list of files was asked for."""
    counted: Counter[str] = Counter()

    def counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            counted[name] += 1
            return method(*words, **options)

        return call

    for module in (_paths, sources):
        monkeypatch.setattr(module, "fnmatchcase", counting("compared", fnmatch.fnmatchcase))
    monkeypatch.setattr(HfApi, "list_repo_tree", counting("listed", HfApi.list_repo_tree))
    return counted


@pytest.mark.parametrize("by_name", [False, True])
def test_sixty_thousand_files_are_chosen_and_fetched_in_so_many_steps(
    by_name: bool, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"train/chunk{n // 6000}/example_{n:05d}.jsonl" for n in range(60_000)]
    cache = Path(constants.HF_HUB_CACHE, "datasets--local--many")
    listed = dict.fromkeys([*names, "README.md"], TreeCacheEntry(1, "0"))
    write_tree_cache(str(cache), COMMIT, listed)  # as the client keeps it after the first listing
    wanted: list[str] = []

    def fetched(_: str, filename: str, **__: Any) -> str:
        wanted.append(filename)
        if filename < names[200]:  # the first files are looked into
            path = cache / "snapshots" / COMMIT / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"text": "x"}\n')
        return filename

    monkeypatch.setattr(snapshot, "hf_hub_download", fetched)
    monkeypatch.setattr(session.api(), "hf_hub_download", fetched)
    parent = Parent("sources[0]", "dataset", "local/many", "main", COMMIT, "")
    source = Source(name="s", dataset="local/many", files=names if by_name else ["train/*"])
    reader, chosen = sources.reader(source, parent, 1, 0, lambda _: None)  # type: ignore[arg-type]
    assert chosen == names
    assert vars(reader)["folder"] == str(cache / "snapshots" / COMMIT)
    assert sorted(set(wanted)) == sorted([*names, "README.md"])
    assert len(wanted) < len(names) + 10
    assert calls["compared"] < 10 * len(names)
    assert calls["listed"] == 0


def test_names_are_fetched_as_they_stand_and_the_list_is_asked_for_once(
    calls: Counter[str],
) -> None:
    api = session.api()
    api.create_repo("local/strange", repo_type="dataset", exist_ok=True)
    added = [CommitOperationAdd(name, b"{}\n") for name in STRANGE]
    commit = api.create_commit(
        "local/strange", added, repo_type="dataset", commit_message="Files"
    ).oid
    parent = Parent("sources[0]", "dataset", "local/strange", "main", commit, "")
    for _ in range(3):  # the second and third as after a restart
        assert set(STRANGE) < set(pull.files(parent))
        folder = pull.fetch(parent, STRANGE[::2])
        here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert here - {".gitattributes"} == set(STRANGE[::2])
    assert calls["listed"] == 1
    source = Source(name="s", dataset="x", files=["a[1].jsonl", "c?/d e.jsonl"])
    assert sources.chosen_files(source, parent, 1) == [*("a1.jsonl", "a[1].jsonl", "c?/d e.jsonl")]
    with pytest.raises(session.HubError, match=r"`sources\[0\]`: local/strange@"):
        pull.fetch(parent, [*STRANGE, "nowhere.jsonl"])


def test_groups_are_added_up_once_and_keep_to_every_bound() -> None:
    measured: list[int] = []

    def size(item: int) -> int:
        measured.append(item)
        return item

    many = [7 * number % 11 for number in range(60_000)]
    made = list(groups(many, (lambda _: 1, 1000), (size, 20)))
    assert [item for group in made for item in group] == many
    assert all(sum(group) <= 20 and len(group) <= 1000 for group in made)
    assert all(sum([*one, two[0]]) > 20 for one, two in pairwise(made))
    assert len(measured) <= 2 * len(many)
    assert list(groups([30, 1, 30], (size, 20))) == [[30], [1], [30]]
    assert [len(group) for group in groups([0] * 2500, (lambda _: 1, 1000))] == [1000, 1000, 500]
