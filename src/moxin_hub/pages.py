"""The Hub to look at: its repositories, and each with card, files, revisions and lineage."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dulwich.objects import Commit
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from moxin_hub import lineage, tree
from moxin_hub.auth import Role
from moxin_hub.errors import HubError
from moxin_hub.launcher import PAGE_ROUTE
from moxin_hub.markup import card
from moxin_hub.repository import Info, Repository, title_and_message
from moxin_hub.web import Call, Router

router = Router()
_FOLDER = Path(__file__).parent / "templates"
_STYLE, _ICON = ((_FOLDER / name).read_bytes() for name in ("style.css", "icon.svg"))
_TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["minute"] = lambda time: datetime.fromtimestamp(time, UTC).isoformat(" ")[:16]
_TEMPLATES.globals |= {"most_files": 1000, "most_references": 60}  # branches, and tags, of each
_MOST_COMMITS = 30
_TITLES = {400: "Bad request", 401: "Not found", 403: "No access", 404: "Not found"}
_HEADERS = {
    # Nothing but our own style sheet and the repositories' pictures; no script, no frame, no form.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@router.add("GET", PAGE_ROUTE)
async def open_session(call: Call) -> Response:
    """Trades the address that `moxin hub serve` printed for a cookie."""
    name, value = call.gate.open_session(call.raw_query)
    answer = RedirectResponse("/", 303, headers=_HEADERS)
    answer.set_cookie(name, value, httponly=True, samesite="strict")
    return answer


@router.add("GET", "/-/style.css")
async def style(call: Call) -> Response:  # noqa: ARG001
    return Response(_STYLE, media_type="text/css", headers=_HEADERS)


@router.add("GET", "/-/icon.svg")
async def icon(call: Call) -> Response:  # noqa: ARG001
    return Response(_ICON, media_type="image/svg+xml", headers=_HEADERS)


@router.add("GET", "/")
def index(call: Call) -> Response:
    """All repositories that the caller may see, the last changed first."""

    def row(repository: Repository) -> tuple[Info, Commit, int] | None:
        if repository.info.is_private and call.role < Role.READ:
            return None
        commit = repository.at("main")
        return repository.info, commit, sum(size for _, size in _files(repository, commit))

    rows = [shown for shown in call.store.sound(row) if shown is not None]
    rows.sort(key=lambda row: (-row[1].commit_time, row[0].id))
    return _page("index.html", rows=rows, is_stranger=call.role is Role.NOBODY)


@router.add("GET", "/{prefix}{repo}")
@router.add("GET", "/{prefix}{repo}/tree/{revision*}")
@router.add("GET", "/{prefix}{repo}/commit/{revision*}")
def one_repository(call: Call) -> Response:
    """A repository at a revision: its card, lineage, revisions, files and last commits."""
    repository, info = call.repository, call.repository.info
    revision = call.args.get("revision") or call.query("revision") or "main"
    commit = repository.at(revision)
    resolve = f"/{info.path}/resolve/{quote(revision, safe='')}"
    text, manifest = (
        tree.read(repository.objects, commit.tree, name).decode(errors="replace")
        for name in ("README.md", "moxin.json")
    )
    history = islice(repository.history(commit.id), _MOST_COMMITS)
    return _page(
        "repository.html",
        info=info,
        home=f"/{info.path}",
        revision=revision,
        resolve=resolve,
        commit=commit,
        sha=commit.id.decode(),
        card=card(text, resolve, info.id),
        lineage=lineage.read(manifest),
        branches=repository.references("refs/heads/"),
        tags=repository.references("refs/tags/"),
        files=list(_files(repository, commit)),
        history=[(old, old.id.decode(), title_and_message(old)[0][:200]) for old in history],
    )


@router.add("GET", "/{prefix}{repo}/blob/{revision}/{path*}")
def blob(call: Call) -> Response:
    """Where clients say that a file can be looked at: it is handed out as it is."""
    revision, path = quote(call.args["revision"], safe=""), quote(call.args["path"])
    return RedirectResponse(f"/{call.repository.info.path}/resolve/{revision}/{path}", 303)


def error_page(error: HubError) -> Response:
    """What a browser is shown where a client gets JSON."""
    closed = error.code == "RepoNotFound"
    message = "There is no such repository, or it is private." if closed else error.message
    title = _TITLES.get(error.status, "Error")
    return _page("error.html", error.status, title=title, message=message)


def _page(template: str, status: int = 200, **values: Any) -> Response:
    text = _TEMPLATES.get_template(template).render(values, status=status)
    body = text.encode(errors="replace")  # a manifest may hold halves of surrogate pairs
    return Response(body, status, _HEADERS, "text/html; charset=utf-8")


def _files(repository: Repository, commit: Commit) -> Iterator[tuple[str, int]]:
    """The path and the size in bytes of each file."""
    for entry in tree.files(repository.objects, commit.tree):
        yield entry.path, repository.objects.content(entry.oid).size
