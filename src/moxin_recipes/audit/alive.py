"""Do links still answer? Of anybody's list: addresses, and repositories at a revision."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from huggingface_hub import get_session

from moxin_recipes import secrecy
from moxin_recipes.hub.session import AwayError, HubError, api, errors
from moxin_recipes.recipe.strict import RecipeError

_WORKERS = 16  # links at a time
_SECONDS = 20.0  # that a host may take for one
_NO_HEAD = (403, 405, 501)  # what hosts say that only answer to GET
_REPOSITORY = re.compile(r"(?:(datasets|spaces|models)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def links(file: Path) -> list[str]:
    """The lines of a list but blanks and comments. Raises RecipeError for what is no link."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise RecipeError(f"{file}: it cannot be read: {error}") from error
    found = [line for line in lines if line and not line.startswith("#")]
    for line in found:
        if secrecy.in_text(line) or "@" in line.partition("://")[2].partition("/")[0]:
            raise RecipeError(
                f"{file}: a link holds a user or what looks like a secret; take it out"
            )
        if not line.startswith(("https://", "http://")) and not _REPOSITORY.fullmatch(line):
            raise RecipeError(
                f"{file}: `{line}` is no address and no [datasets/]OWNER/NAME[@REVISION]"
            )
    if not found:
        raise RecipeError(f"{file}: there is no link in it")
    return found


def dead(found: list[str]) -> Iterator[tuple[str, str]]:
    """Each link in order with what is wrong: "" where it answers. No token goes to an address."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        yield from zip(found, pool.map(_why, found), strict=True)


def _why(link: str) -> str:
    if match := _REPOSITORY.fullmatch(link):
        kind, repo, revision = match.groups()
        try:
            with errors(link):
                api().repo_info(repo, repo_type=(kind or "models")[:-1], revision=revision)
        except AwayError:
            raise
        except HubError as error:
            return str(error).removeprefix(f"{link}: ")
        return ""
    try:
        answer = get_session().head(link, follow_redirects=True, timeout=_SECONDS)
        if answer.status_code in _NO_HEAD:
            with get_session().stream("GET", link, follow_redirects=True, timeout=_SECONDS) as got:
                answer = got
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        return f"no answer ({type(error).__name__})"
    return f"HTTP {answer.status_code}" if answer.status_code >= 400 else ""
