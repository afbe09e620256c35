"""The code that makes a result: address, commit, and the patch of what was changed beside it.

A patch holds the changes of tracked files and the untracked files under `src/` and `recipes/`; what
else lies about decides nothing. It goes into the manifest, so it must not hold a secret.
"""

import functools
import hashlib
import importlib.metadata
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moxin_recipes import secrecy
from moxin_recipes.recipe.strict import RecipeError

LARGEST = 1_000_000  # bytes of a patch
_WHERE = ("src", "recipes")
_DIFF = (
    *("-c", "core.quotePath=true", "diff", "--binary", "--full-index", "--no-color"),
    *("--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/"),
)
_NAMES = re.compile(
    r"(^|/)(\.env[^/]*|\.netrc|id_(rsa|dsa|ecdsa|ed25519)|[^/]*\.(pem|p12|pfx|key))$"
)


@functools.cache
def code() -> dict[str, Any]:
    """Version of this package; where it runs from a checkout, its git commit, address and patch.

    `address` is the URL of the remote `origin` without user and password, None for a folder.
    `patch` is None for a clean tree. It is as it was when this was first asked: what is edited
    while a stage runs does not run. Raises RecipeError for a patch that must not be recorded.
    """
    found: dict[str, Any] = {
        "version": importlib.metadata.version("moxin-recipes"),
        **dict.fromkeys(("commit", "address", "patch")),
    }
    top = checkout()
    commit = _git(top, "rev-parse", "--verify", "--quiet", "HEAD") if top else None
    if top is None or commit is None:
        return found
    address = _git(top, "remote", "get-url", "origin") or ""
    found |= {"commit": commit.strip(), "address": public(address.strip())}
    return found | {"patch": patch(top) or None}


def checkout() -> Path | None:
    """The folder of the checkout that this package runs from; None where it was installed."""
    root = _git(Path(__file__).parent, "rev-parse", "--show-toplevel")
    top = Path(root.strip()) if root else None
    # It may be installed into somebody else's repository.
    return top if top and (top / "src" / "moxin_recipes").is_dir() else None


def is_pushed(top: Path, commit: str) -> bool:
    """Whether a commit is part of a branch of `origin`, as of the last push or fetch."""
    return bool(_git(top, "for-each-ref", f"--contains={commit}", "refs/remotes/origin/"))


def uncommitted(top: Path, where: Iterable[str]) -> list[str]:
    """The files there that differ from the commit or that it does not have, by their names."""
    asked = ("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--")
    return [line[3:] for line in (_git(top, *asked, *where) or "").split("\0") if line]


def patch(top: Path) -> str:
    """The changes of a checkout since its commit, as `git apply` reads them; "" without any.

    Raises RecipeError where they are larger than `LARGEST` bytes or hold what looks like a secret.
    """
    where = [name for name in _WHERE if (top / name).is_dir()]
    if not where:
        return ""
    changes = _git(top, *_DIFF, "HEAD", "--", *where) or ""
    listed = _git(top, "ls-files", "-z", "--others", "--exclude-standard", "--", *where) or ""
    new = [name for name in listed.split("\0") if name]
    size = sum((top / name).lstat().st_size for name in new)
    if size <= LARGEST:
        for name in new:
            if name.endswith("/") or (top / name).is_symlink():
                raise RecipeError(
                    f"{top / name}: a repository or a link that no commit holds, under src/ or "
                    "recipes/: a result records what is changed there; move it elsewhere"
                )
            # It ends with 1, as there is a difference.
            changes += _git(top, *_DIFF, "--no-index", "--", os.devnull, name, ends=(0, 1)) or ""
    if size > LARGEST or len(changes) > LARGEST:
        raise RecipeError(
            f"{top}: what is changed and not committed under src/ and recipes/ is more than "
            f"{LARGEST:,} bytes, and a result records it: commit it, or move it elsewhere"
        )
    _prove_no_secret(top, changes)
    try:
        changes.encode()
    except UnicodeEncodeError as error:
        raise RecipeError(
            f"{top}: what is changed and not committed under src/ and recipes/ is not all UTF-8, "
            "and a result records it: commit it, or move it elsewhere"
        ) from error
    return changes


def pinned(told: dict[str, Any]) -> str:
    """What names a manifest's `code` whole: its commit, and the sha256 of its patch if it has one.

    `COMMIT`, or `COMMIT+sha256:DIGEST` of the patch as UTF-8.
    """
    patch = told.get("patch") or ""
    digest = hashlib.sha256(patch.encode(errors="surrogatepass")).hexdigest()
    return f"{told.get('commit')}{f'+sha256:{digest}' if patch else ''}"


def public(address: str) -> str | None:
    """The address of a repository without user and password; None for a folder of this machine."""
    if re.fullmatch(r"git@[\w.-]+:[^/].*", address):  # git@host:owner/name
        return address
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in ("https", "http", "ssh", "git") or not parts.hostname:
        return None
    user = "git@" if parts.scheme == "ssh" and parts.username == "git" else ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{user}{host}{port}{parts.path}"


def _prove_no_secret(top: Path, changes: str) -> None:
    name = ""
    for line in changes.split("\n"):
        if line.startswith("diff --git "):
            name = line.rpartition(" b/")[2].rstrip('"')
        said = [line] if line.startswith("+") else []
        if line == "GIT binary patch" and (top / name).is_file():
            content = (top / name).read_bytes()
            said = [content.decode("latin-1"), content.decode("utf-16", "ignore")]
        if any(map(secrecy.in_code, said)) or (
            line.startswith("diff --git ") and _NAMES.search(name)
        ):
            raise RecipeError(
                f"{top / name} is changed and not committed, a result records that, and it holds "
                "what looks like a secret; take it out of src/ and recipes/"
            )


def _git(folder: Path, *words: str, ends: tuple[int, ...] = (0,)) -> str | None:
    """What git says in a folder; None where there is no git, or it ends in another way."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],  # noqa: S607 (the caller's git)
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.decode(errors="surrogateescape") if done.returncode in ends else None
