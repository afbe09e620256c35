"""The Hub to look at: its repositories, and each with card, files, revisions and lineage."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from dulwich.objects import Commit, ObjectID
from starlette.responses import RedirectResponse, Response

from moxin_hub import lineage, tree
from moxin_hub.auth import Role
from moxin_hub.errors import HubError
from moxin_hub.launcher import PAGE_ROUTE
from moxin_hub.markup import Html, card, html, join, link
from moxin_hub.repository import (
    Info,
    Repository,
    committed_at,
    title_and_message,
)
from moxin_hub.web import Call, Router

router = Router()
_STATIC = Path(__file__).parent / "static"
_PAGE = (_STATIC / "page.html").read_text()
_STYLE = (_STATIC / "style.css").read_bytes()
_MOST_FILES = 1000
_LARGEST_TEXT = 4 << 20  # bytes of a card or a manifest
_MOST_COMMITS = 30
_MOST_REVISIONS = 60  # branches, and tags, of each
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
    """Trades the key that `moxin hub serve` printed for a cookie."""
    name, value = call.gate.open_session(call.query("key") or "")
    answer = RedirectResponse("/", 303, headers=_HEADERS)
    answer.set_cookie(name, value, httponly=True, samesite="strict")
    return answer


@router.add("GET", "/-/style.css")
async def style(call: Call) -> Response:  # noqa: ARG001
    headers = {**_HEADERS, "Cache-Control": "max-age=3600"}
    return Response(_STYLE, media_type="text/css", headers=headers)


@router.add("GET", "/")
def index(call: Call) -> Response:
    """All repositories that the caller may see, the last changed first."""

    def row(repository: Repository) -> tuple[int, str, Html] | None:
        if repository.info.is_private and call.role < Role.READ:
            return None
        commit = repository.objects.commit(repository.resolve("main"))
        return -commit.commit_time, repository.info.id, _row(commit, repository)

    shown = sorted(found for found in call.store.sound(row) if found is not None)
    rows = join(row for _, _, row in shown)
    table = html(
        '<table><thead><tr><th>Repository<th class="optional">Type<th class="number optional">'
        'Size<th class="time">Last change</thead><tbody>{}</tbody></table>',
        rows,
    )
    if call.role is Role.NOBODY:
        hint = "Private repositories show after you open the address that {} prints."
        note = html('<p class="quiet">' + hint + "</p>", html("<code>moxin hub serve</code>"))
    else:
        note = Html("")
    count = f"{len(shown)} repositories" if len(shown) != 1 else "1 repository"
    head = html('<h1>Repositories</h1><p class="facts"><span>{}</span></p>', count)
    return _page("Local Hub", Html(""), join([head, note, table if shown else Html("")]))


@router.add("GET", "/{prefix}{repo}")
@router.add("GET", "/{prefix}{repo}/tree/{revision*}")
@router.add("GET", "/{prefix}{repo}/commit/{revision*}")
def one_repository(call: Call) -> Response:
    """A repository at a revision: its card, lineage, revisions, files and last commits."""
    repository, info = call.repository, call.repository.info
    revision = call.args.get("revision") or call.query("revision") or "main"
    commit = repository.objects.commit(repository.resolve(revision))
    where = f"{_home(info)}/resolve/{quote(revision, safe='')}"
    text = _read(repository, commit, "README.md")
    bare = html('<p class="quiet">This revision has no card.</p>')
    about = card(text, where, info.id) if text else bare
    manifest = lineage.parse(_read(repository, commit, "moxin.json"))
    side = join([lineage.section(manifest), _revisions(repository, revision, commit.id)])
    columns = html(
        '<div class="columns"><article class="card">{}</article><aside>{}</aside></div>',
        about,
        side,
    )
    files, size = _files(repository, commit, where)
    body = join([_head(info, revision, commit, size), columns, files, _history(repository, commit)])
    crumb = html("<span>/</span>{}", link(_home(info), info.id))
    return _page(f"{info.id} · Local Hub", crumb, body)


@router.add("GET", "/{prefix}{repo}/blob/{revision}/{path*}")
def blob(call: Call) -> Response:
    """Where clients say that a file can be looked at: it is handed out as it is."""
    revision, path = quote(call.args["revision"], safe=""), quote(call.args["path"])
    return RedirectResponse(f"{_home(call.repository.info)}/resolve/{revision}/{path}", 303)


def error_page(error: HubError) -> Response:
    """What a browser is shown where a client gets JSON."""
    hint = html(
        '<p class="quiet">Private repositories show after you open the address that {} prints.</p>',
        html("<code>moxin hub serve</code>"),
    )
    closed = error.code == "RepoNotFound"
    message = "There is no such repository, or it is private." if closed else error.message
    about = html('<h1>{}</h1><p class="facts">{}</p>', _TITLES.get(error.status, "Error"), message)
    body = join([about, hint if error.status == 401 else Html("")])
    return _page("Local Hub", Html(""), body, error.status)


def _page(title: str, crumb: Html, body: Html, status: int = 200) -> Response:
    text = html(_PAGE, title, crumb, body).encode(
        errors="replace"
    )  # a manifest may hold surrogates
    return Response(text, status, _HEADERS, "text/html; charset=utf-8")


def _row(commit: Commit, repository: Repository) -> Html:
    info = repository.info
    size = sum(bytes_ for _, bytes_ in _sizes(repository, commit))
    return html(
        '<tr><td class="name">{} {}<td class="optional">{}<td class="number optional">{}'
        '<td class="time">{}',
        link(_home(info), info.id),
        _badge(info),
        info.type,
        size_text(size),
        _time(commit),
    )


def _head(info: Info, revision: str, commit: Commit, size: int) -> Html:
    namespace, _, name = info.id.rpartition("/")
    title = html('<span class="namespace">{}</span>{}', f"{namespace}/" if namespace else "", name)
    facts = [
        html("<span>{} {}</span>", info.type, _badge(info)),
        html("<span>{}</span>", revision if len(revision) < 60 else f"{revision[:59]}…"),
        html('<span class="hash">{}</span>', commit.id.decode()[:12]),
        html("<span>{}</span>", size_text(size)),
        html("<span>{}</span>", _time(commit)),
    ]
    return html('<h1>{}</h1><p class="facts">{}</p>', title, join(facts))


def _revisions(repository: Repository, revision: str, here: ObjectID) -> Html:
    """Branches and tags as links; the one on show stands out."""
    parts = []
    for title, base in (("Branches", "refs/heads/"), ("Tags", "refs/tags/")):
        found = repository.references(base)
        items = [
            html(
                '<li class="{}">{} <span class="hash">{}</span></li>',
                "here" if ref.name == revision or ref.commit == here.decode() == revision else "",
                link(f"{_home(repository.info)}/tree/{quote(ref.name, safe='')}", ref.name),
                ref.commit[:8],
            )
            for ref in found[:_MOST_REVISIONS]
        ]
        if len(found) > _MOST_REVISIONS:
            more = f"and {len(found) - _MOST_REVISIONS} more"
            items.append(html('<li class="quiet">{}</li>', more))
        if items:
            parts.append(html("<h2>{}</h2><ul>{}</ul>", title, join(items)))
    return join(parts)


def _files(repository: Repository, commit: Commit, where: str) -> tuple[Html, int]:
    """The table of files, and their size altogether in bytes."""
    sizes = list(_sizes(repository, commit))
    rows = [
        html(
            '<tr><td class="name">{}<td class="number">{}',
            link(f"{where}/{quote(path)}", path),
            size_text(size),
        )
        for path, size in sizes[:_MOST_FILES]
    ]
    if len(sizes) > _MOST_FILES:
        more = f"and {len(sizes) - _MOST_FILES} more"
        rows.append(html('<tr><td class="quiet" colspan="2">{}', more))
    table = html("<h2>Files</h2><table><tbody>{}</tbody></table>", join(rows))
    return table, sum(size for _, size in sizes)


def _history(repository: Repository, commit: Commit) -> Html:
    rows = [
        html(
            '<tr><td>{}<td class="name">{}<td class="time">{}',
            html(
                '<a class="hash" href="{}/commit/{}">{}</a>',
                _home(repository.info),
                found.id.decode(),
                found.id.decode()[:8],
            ),
            title_and_message(found)[0][:200],
            _time(found),
        )
        for found in islice(repository.history(commit.id), _MOST_COMMITS)
    ]
    template = '<h2>History</h2><table class="history"><tbody>{}</tbody></table>'
    return html(template, join(rows))


def _sizes(repository: Repository, commit: Commit) -> Iterator[tuple[str, int]]:
    for entry in tree.walk(repository.objects, commit.tree, "", recursive=True):
        if not entry.is_folder:
            yield entry.path, repository.objects.content(entry.oid).size


def _read(repository: Repository, commit: Commit, path: str) -> str:
    """A text file of the commit, "" if it is not there or no text to show on a page."""
    try:
        entry = tree.find(repository.objects, commit.tree, path)
        content = repository.objects.content(entry.oid)
        if entry.is_folder or content.lfs is not None or content.size > _LARGEST_TEXT:
            return ""
        return repository.objects.blob(entry.oid).decode(errors="replace")
    except (HubError, KeyError):
        return ""


def _home(info: Info) -> str:
    return f"/{info.path}"


def _badge(info: Info) -> Html:
    return html('<span class="private">{}</span>', "private") if info.is_private else Html("")


def _time(commit: Commit) -> Html:
    text = committed_at(commit)
    return html('<time datetime="{}">{}</time>', text, f"{text[:10]} {text[11:16]}")


def size_text(size: int) -> str:
    """1234567 → 1.2 MB."""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.{int(amount < 99.5 and units[0] != 'B')}f} {units[0]}"
