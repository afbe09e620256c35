"""A file or folder of this machine that a recipe names: a private dataset of the Hub in use.

It is pushed as it lies there, before anything runs, and from then on it is an input as any other:
pinned to a commit, its files' digests in the key. The repository's name has the path's digest, so
that no two folders share one, and none of the user's own is written to.
"""

import hashlib
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from moxin_recipes import environment
from moxin_recipes.hub.add import check_names
from moxin_recipes.hub.session import HubError, MissingError, api, errors, qualified
from moxin_recipes.hub.side import File, Side
from moxin_recipes.recipe import limits
from moxin_recipes.recipe.fields import Reference, is_path
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
TYPE = "dataset"
PLACE = "data"  # in the repository: a README.md of the folder is a text, and not the card
_OF_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")  # hidden where they are made
_SHOWN = 10


@dataclass(frozen=True)
class Own:
    """Path below PLACE in the repository → file, what is left out, and where it goes."""

    key: str
    path: Path
    repo: str
    files: dict[str, Path]
    skipped: list[str]

    def __str__(self) -> str:
        size = sum(file.stat().st_size for file in self.files.values())
        what = f"{len(self.files):,} file{'s' * (len(self.files) > 1)}, {size:,} bytes"
        text = f"{self.path} → {self.repo} (a private dataset): {what}"
        if self.skipped:
            more = f" and {len(self.skipped) - _SHOWN} more" if self.skipped[_SHOWN:] else ""
            text += f"; left out, hidden or links: {', '.join(self.skipped[:_SHOWN])}{more}"
        return text


def of(reference: Reference) -> Own:
    """What a reference to a path names.

    Raises:
        MissingError: there is no such file or folder, or it holds no file.
        RecipeError: a name has characters that cannot be shown, or a folder cannot be read.
    """
    path = Path(reference.repo).expanduser()
    skipped: list[str] = []
    if path.is_file():
        files = {path.name: path}
    elif path.is_dir():
        files = {file.relative_to(path).as_posix(): file for file in _below(path, path, skipped)}
    else:
        raise MissingError(
            f"`{reference.key}`: {reference.repo}: there is no such file or folder "
            f"(looked for {path.absolute()})"
        )
    if not files:
        left = f" but what is hidden or a link: {', '.join(skipped[:_SHOWN])}" if skipped else ""
        raise MissingError(f"`{reference.key}`: {reference.repo}: this folder holds no file{left}")
    check_names(files)
    _check_limits(reference.key, path, files)
    return Own(reference.key, path, qualified(_name(path)), files, skipped)


def all_of(references: Iterable[Reference]) -> list[Own]:
    """What the references name that are paths, each path once."""
    named = {reference.repo: reference for reference in references if is_path(reference.repo)}
    return [of(reference) for reference in named.values()]


def commit_of(own: Own) -> str:
    """The commit that holds these files and no others.

    Raises:
        MissingError: they are not on the Hub as they are now.
    """
    found = _there(own)
    if found is None:
        raise MissingError(
            f"`{own.key}`: {own.path} is not on this Hub as it is now; `moxin run` pushes it"
        )
    return found


def is_there(own: Own) -> bool:
    """Whether the Hub has these files as they are now."""
    return _there(own) is not None


def bring(owns: Iterable[Own]) -> None:
    """Pushes what is not on the Hub as it is now; unchanged content makes no commit.

    Raises:
        RecipeError: the Hub in use is not on this machine, and nobody named it by `--hub`.
        HubError: the repository is public, or what was pushed is not what lies there.
    """
    for own in owns:
        if _there(own) is not None:
            continue
        if not environment.takes_own_files():
            where = os.environ.get("HF_ENDPOINT", environment.PUBLIC_ENDPOINT)
            raise RecipeError(
                f"`{own.key}`: {own.path} would be pushed to {where}; if you want that, say so: "
                "`moxin run … --hub hf` (or its URL); `--hub local` keeps it on this machine"
            )
        log.info("pushing %s", own)
        _push(own)
        if _there(own) is None:
            raise HubError(f"`{own.key}`: {own.path} changed while it was pushed; try again")


def _push(own: Own) -> None:
    with errors(f"`{own.key}`: {own.repo}"), tempfile.TemporaryDirectory() as staged:
        api().create_repo(own.repo, repo_type=TYPE, private=True, exist_ok=True)
        if not api().repo_info(own.repo, repo_type=TYPE).private:
            raise HubError(
                f"`{own.key}`: {own.repo} is public, and {own.path} is yours; make the repository "
                "private, or delete it"
            )
        for path, file in own.files.items():
            link = Path(staged, PLACE, path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.absolute())
        api().upload_folder(
            repo_id=own.repo,
            repo_type=TYPE,
            folder_path=staged,
            delete_patterns="*",  # the folder is the whole tree
            commit_message=f"moxin: {own.path.absolute().name}",
        )


def _there(own: Own) -> str | None:
    """The last commit of the repository, where it holds these files and no others."""
    side = Side(api(), own.repo, TYPE)
    with errors(own.repo):
        if not api().repo_exists(own.repo, repo_type=TYPE):
            return None
        commit = str(api().repo_info(own.repo, repo_type=TYPE).sha)
        listed = side.files(commit)
    listed.pop(".gitattributes", None)
    files = {f"{PLACE}/{path}": file for path, file in own.files.items()}
    same = listed.keys() == files.keys() and all(
        _is(file, files[path]) for path, file in listed.items()
    )
    return commit if same else None


def _check_limits(key: str, path: Path, files: dict[str, Path]) -> None:
    """RecipeError for what the public Hub would refuse after the upload has begun."""
    folders = Counter(Path(file).parent for file in files)
    for folder, entries in folders.items():
        limits.check_folder(key, entries, f"{path / folder}")
    for file in files.values():
        limits.check_file(key, file.stat().st_size, str(file))


def _is(listed: File, path: Path) -> bool:
    try:
        stat = path.stat()
        return listed.size == stat.st_size and listed.oid == _digest(listed, path, stat.st_mtime_ns)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error


@cache
def _digest(listed: File, path: Path, _: int) -> str:
    """The digest of a file, computed once while it does not change."""
    return listed.digest(path)


def _name(path: Path) -> str:
    """`own-my-texts-1a2b3c4d`."""
    whole = path.resolve()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", whole.name).strip("-")[:40].strip("-").lower()
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
    return "-".join(filter(None, ("own", readable, digest)))


def _below(folder: Path, top: Path, skipped: list[str]) -> Iterator[Path]:
    """The files of a folder and of those in it, in the order of their names."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise RecipeError(f"{folder}: {error.strerror}") from error
    for entry in entries:
        path = folder / entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        hidden = entry.name.startswith(".") or entry.name in _OF_SYSTEMS
        if hidden or not (is_folder or entry.is_file(follow_symlinks=False)):
            skipped.append(path.relative_to(top).as_posix() + "/" * is_folder)
        elif path == top / "moxin.json":
            skipped.append("moxin.json (the manifest of another repository)")
        elif is_folder:
            yield from _below(path, top, skipped)
        else:
            yield path
