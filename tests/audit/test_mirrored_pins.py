"""A pin of another Hub: found where a mirror repeats its commit, in this namespace or the next."""

import pytest

from moxin_recipes.audit.served import here
from moxin_recipes.hub import session
from moxin_recipes.hub.pull import MIRROR_OF, Parent
from moxin_recipes.hub.session import MissingError, api

FIRST = "ab" * 20


@pytest.fixture(scope="module")
def repeated() -> str:
    """A commit of second/pinned that repeats FIRST of first/pinned, which this Hub has not."""
    session.start()
    api().create_repo("second/pinned", private=True)
    made = api().upload_file(
        repo_id="second/pinned",
        path_in_repo="x.txt",
        path_or_fileobj=b"x",
        commit_message="Added",
        commit_description=MIRROR_OF + FIRST,
    )
    return str(made.oid)


def pin(repo: str, commit: str) -> Parent:
    return Parent("models", "model", repo, "main", commit, "payload")


@pytest.mark.parametrize(
    ("repo", "home"), [("second/pinned", "second"), ("first/pinned", "second")]
)
def test_a_mirrored_pin(repeated: str, repo: str, home: str) -> None:
    found = here(pin(repo, FIRST), home)
    assert (found.repo, found.commit, found.payload) == ("second/pinned", repeated, "payload")


@pytest.mark.parametrize(
    ("repo", "commit", "home"),
    [
        ("first/pinned", FIRST, "first"),
        ("first/pinned", FIRST, "third"),
        ("first/pinned", "cd" * 20, "second"),
        ("second/pinned", "cd" * 20, "second"),
    ],
)
def test_a_pin_that_nothing_repeats(repeated: str, repo: str, commit: str, home: str) -> None:
    with pytest.raises(MissingError, match=f"{repo}@{commit}"):
        here(pin(repo, commit), home)


def test_the_commit_of_a_repository_of_the_same_name_is_no_repetition(repeated: str) -> None:
    """Somebody may take the name; only what says that it repeats the commit stands for it."""
    with pytest.raises(MissingError):
        here(pin("first/pinned", repeated), "second")
