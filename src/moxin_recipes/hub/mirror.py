"""`moxin hub mirror`: repositories from one Hub to another, so often as it takes to get it done.

Both are read and written through the public API (`mirror_api`); a folder is served for it. Each
commit is made anew, with another id and date, and `mirror.json` says which is which.
"""

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from moxin_hub import launcher
from moxin_recipes import environment, secrecy
from moxin_recipes.hub.mirror_api import Copy
from moxin_recipes.hub.session import HubError, refusal, upload_refusal
from moxin_recipes.hub.side import NAMELESS, Side

log = logging.getLogger(__name__)
_TOKENS = "MOXIN_FROM_TOKEN and MOXIN_TO_TOKEN"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class End:
    """One of the two Hubs: the folder of a local one, or the address of any."""

    root: Path | None
    endpoint: str = ""
    token: str | None = field(default=None, repr=False)

    @classmethod
    def named(cls, name: str, variable: str) -> "End":
        """The Hub that `--from` or `--to` names: `local`, a root's path, `hf` or a URL.

        The token of a root is in its folder; of any other Hub, in the environment's `variable`,
        and for `hf` otherwise where the Hub's own tools have it.

        Raises:
            HubError: it is none of these.
        """
        token = os.environ.get(variable)
        if name == "local":
            return cls(environment.home() / "hub")
        if name == "hf":
            return cls(None, environment.PUBLIC_ENDPOINT, token or get_token())
        if "://" in name and not secrecy.is_bare(name):
            raise HubError(
                f"--from and --to: an address has no user, no password and no query; {_TOKENS} "
                "hold the tokens"
            )
        if name.startswith(("http://", "https://")):
            return cls(None, name.rstrip("/"), token)
        if "/" not in name and not Path(name).is_dir():
            raise HubError(f"{name}: not `local`, `hf`, a URL, or the path of a Hub (./{name})")
        return cls(Path(name).expanduser().absolute())

    def __str__(self) -> str:
        return self.endpoint or str(self.root)

    def api(self) -> HfApi:
        """A client of this Hub; a local one is started if it does not answer."""
        if self.root is None:
            return HfApi(endpoint=self.endpoint, token=self.token or False)
        who = launcher.identity(self.root)
        launcher.ensure(who)
        return HfApi(endpoint=who.endpoint, token=who.token)


class Show:
    """Repositories done, bytes sent, and what is being sent now, on a terminal."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self.bar = Progress(
            *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
            *(TextColumn("{task.fields[sent]}"), TextColumn("{task.description}")),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self.bar.add_task("", total=total, sent="")
        self._bytes = 0

    def step(self, text: str) -> None:
        self.bar.update(self._task, description=text)

    def passed(self, count: int) -> None:
        self._bytes += count
        self.bar.update(self._task, sent=decimal(self._bytes))

    def finished(self) -> None:
        """One repository more."""
        self.bar.advance(self._task)


def mirror(source: End, target: End, repos: list[str]) -> None:
    """Copies the repositories named, or all that are the source's own; see the command's help.

    Raises:
        HubError: something is refused, missing, damaged or out of reach, with the way out.
    """
    if source == target:
        raise HubError(f"{source}: --from and --to are the same Hub")
    if source.root is not None and not (source.root / "repositories").is_dir():
        raise HubError(f"--from {source.root}: there is no Hub in this folder")
    wanted = [_parsed(repo) for repo in repos]
    with _errors(str(source)):
        old = source.api()
        mine = str(old.whoami()["name"]) if old.token else None
        named = wanted or _all(old, None if source.root else mine)
    if not named:
        raise HubError(f"{source}: which repositories? Name them with --repo NAMESPACE/NAME")
    with _errors(str(target)):
        new = target.api()
        if not new.token:
            raise HubError(f"{target}: writing there needs a token; set MOXIN_TO_TOKEN")
        yours = str(new.whoami()["name"])
    show = Show(len(named))
    with show.bar:
        for kind, repo in named:
            _mirror_one(*_sides(old, mine, new, yours, kind, repo), show)
            show.finished()


def _parsed(repo: str) -> tuple[str, str]:
    """(type, id) of `NAMESPACE/NAME`, `datasets/NAMESPACE/NAME`."""
    prefix, _, rest = repo.partition("/")
    if prefix in ("models", "datasets") and "/" in rest:
        return prefix[:-1], rest
    if repo.count("/") != 1:
        raise HubError(f"--repo {repo}: write NAMESPACE/NAME, or datasets/NAMESPACE/NAME")
    return "model", repo


def _sides(
    old: HfApi, mine: str | None, new: HfApi, yours: str, kind: str, repo: str
) -> tuple[Side, Side]:
    """A repository on both Hubs.

    What is one's own in the one Hub becomes one's own in the other; so does what has no namespace
    on the public one, where nobody can make such an id.
    """
    namespace, _, name = repo.rpartition("/")
    if not namespace and old.endpoint != environment.PUBLIC_ENDPOINT:
        repo = f"{NAMELESS}/{name}"
    if namespace == mine or (not namespace and new.endpoint == environment.PUBLIC_ENDPOINT):
        namespace = yours
    return Side(old, repo, kind), Side(new, f"{namespace or NAMELESS}/{name}", kind)


def _mirror_one(source: Side, target: Side, show: Show) -> None:
    show.step(target.name)
    with _errors(f"{source.api.endpoint}/{source.name}"):
        info = source.api.repo_info(source.repo, repo_type=source.type)
        closed = bool(info.private or info.gated)  # not everybody may read it here, nor there
    with _errors(f"{source.name} to {target.api.endpoint}/{target.name}"):
        target.api.create_repo(target.repo, repo_type=target.type, private=closed, exist_ok=True)
        there = target.api.repo_info(target.repo, repo_type=target.type)
        if closed and not there.private:
            raise HubError(
                f"{target.name} is public on {target.api.endpoint} and private or gated on "
                f"{source.api.endpoint}; nothing was copied"
            )
        scratch = environment.home() / "cache" / "mirror" / target.type / target.repo
        copy = Copy(source, target, scratch, show)
        commits = copy.run()
    _remember({source.at(before): target.at(after) for before, after in commits.items()})
    log.info("%s: %s", target.name, _sent(copy.commits, copy.files, copy.bytes))


def _remember(commits: dict[str, str]) -> None:
    """Adds to `mirror.json` which commit repeats which, by their addresses."""
    path = environment.home() / "mirror.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}-{os.getpid()}")
    temporary.write_text(json.dumps(known | commits, indent=1), encoding="utf-8")
    temporary.replace(path)


def _all(api: HfApi, author: str | None) -> list[tuple[str, str]]:
    """(type, id) of all repositories of an author, or of the whole Hub."""
    if author is None and not api.token:
        return []
    return [
        *(("model", repo.id) for repo in api.list_models(author=author)),
        *(("dataset", repo.id) for repo in api.list_datasets(author=author)),
    ]


def _sent(commits: int, files: int, size: int) -> str:
    if not commits:
        return "up to date"
    return f"{commits} commits, {files} big files of {decimal(size)} sent"


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    """Whatever goes wrong with `what`, in one line."""
    again = "then give the same command again"
    try:
        yield
    except HubError:
        raise
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{what}: there is no such repository, or no access to it; name it with its type "
            f"(datasets/NAMESPACE/NAME), and see that {_TOKENS} hold tokens that may"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        tokens = f"; {_TOKENS} hold the tokens" if status in (401, 403) else ""
        raise HubError(f"{what}: refused: {refusal(error)}{tokens}") from error
    except (httpx2.TransportError, ConnectionError) as error:
        raise HubError(
            f"{what}: it does not answer ({type(error).__name__}); check the network, {again}"
        ) from error
    except OSError as error:
        full = error.errno in _FULL
        reason = "the disk is full; free some space" if full else f"{error.strerror or error}"
        raise HubError(f"{what}: {reason}, {again}") from error
    except (RuntimeError, ValueError) as error:
        reason = upload_refusal(error) or " ".join(str(error).split())
        raise HubError(f"{what}: {reason}") from error
