"""From a raw request to a handler and back: routing, limits and errors."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes, urlencode

from dulwich.objects import Commit
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from moxin_hub.auth import Gate, Role
from moxin_hub.errors import HubError, bad_request, repo_not_found
from moxin_hub.repository import NAMELESS, Repository
from moxin_hub.store import Store

_LARGEST_BODY = 4 << 20  # bytes of a JSON or form body; streams have their own limits
# A path that may name a repository without a namespace, such as /api/models/gpt2/refs.
_NAMELESS = re.compile(
    r"(/(?:api/)?(?:(?P<type>models|datasets)/)?)(?P<repo>[^/]+?)((?:\.git)?(?:/.*)?)",
    re.DOTALL,
)
T = TypeVar("T")


@dataclass
class Call:
    """One request, as a handler sees it: authenticated, its repository open, its body read."""

    request: Request
    store: Store
    gate: Gate
    role: Role
    args: dict[str, str]  # the decoded parts of the path
    repository: Repository = field(init=False)  # of routes that name one
    body: bytes = b""

    @property
    def endpoint(self) -> str:
        """The address that the client used, without a slash at its end."""
        return f"http://{self.request.headers['host']}"

    @property
    def commit(self) -> Commit:
        """The commit of the revision in the path, or of main."""
        return self.repository.at(self.args.get("revision") or "main")

    @property
    def raw_query(self) -> str:
        """The query as it was signed."""
        return str(self.request.scope["query_string"], "latin-1")

    def query(self, name: str) -> str | None:
        return self.request.query_params.get(name)

    def flag(self, name: str) -> bool:
        """Whether a query parameter is there and not false."""
        return self.request.query_params.get(name, "false").lower() not in ("false", "0", "")

    def number(self, name: str) -> int:
        """A query parameter that is a whole number; 0 if it is not there.

        Raises:
            HubError: 400 for anything else, and for more digits than any number here has.
        """
        text = self.query(name) or "0"
        if not re.fullmatch("[0-9]{1,12}", text):
            raise bad_request(f"`{name}` is no whole number, or too large")
        return int(text)

    async def read_body(self) -> None:
        """Fills `body`; handlers that are no coroutines find it filled.

        Raises:
            HubError: 413 if it is too large.
        """
        body = bytearray()
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > _LARGEST_BODY:
                raise HubError(413, f"A body has at most {_LARGEST_BODY} bytes")
        self.body = bytes(body)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        try:
            value = json.loads(self.body) if self.body else {}
        except (ValueError, RecursionError):
            raise bad_request("The body is no JSON") from None
        if not isinstance(value, dict):
            raise bad_request("The body is no JSON object")
        return value


Handler = Callable[[Call], Response] | Callable[[Call], Awaitable[Response]]


@dataclass
class Route:
    """A path pattern over the raw path, the method, who may call it, and the handler."""

    method: str
    pattern: re.Pattern[str]
    role: Role
    handler: Handler


@dataclass
class Router:
    """The endpoint table. Repositories are opened, and closed to strangers, here and only here."""

    routes: list[Route] = field(default_factory=list)

    def add(self, method: str, path: str, role: Role = Role.NOBODY) -> Callable[[Handler], Handler]:
        """Registers a handler. `{name}` stands for one path segment, `{name*}` for any number.

        `{repo}` stands for a repository's id and opens the repository; it takes `{type}` from the
        path, or the model type. `{base}` is branch or tag. With Role.NOBODY anybody may read what
        is public.
        """
        pattern = path.replace("{type}", "(?P<type>models|datasets)")
        pattern = pattern.replace("{prefix}", "(?:(?P<type>datasets)/)?")
        pattern = pattern.replace("{repo}", "(?P<repo>(?!api/|lfs/)[^/]+/[^/]+?)")
        pattern = pattern.replace("{base}", "(?P<base>branch|tag)")
        pattern = re.sub(r"/\{(\w+)\*\}", r"(?:/(?P<\1>.*))?", pattern)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)

        def register(handler: Handler) -> Handler:
            self.routes.append(Route(method, re.compile(pattern, re.DOTALL), role, handler))
            return handler

        return register

    async def answer(self, call: Call) -> Response:
        """Finds the route, checks the role, opens the repository, runs the handler.

        Raises:
            HubError: whatever is wrong with the request.
        """
        method = "GET" if call.request.method == "HEAD" else call.request.method
        matches = self._matches(call)
        for route, match in matches:
            if route.method == method:
                call.args = {name: decode(part or "") for name, part in match.groupdict().items()}
                return await self._run(route, call)
        if matches:
            raise HubError(405, "Method not allowed")
        raise HubError(404, "The local Hub has no such endpoint")

    def _matches(self, call: Call) -> list[tuple[Route, re.Match[str]]]:
        """The routes of a path; an id without a namespace gets `_` for one.

        `gpt2/refs` means the references of gpt2 if that is a repository, and only without it a
        repository `refs` in a namespace `gpt2`.
        """
        paths = [raw_path(call.request)]
        if nameless := _NAMELESS.fullmatch(paths[0]):
            before, kind, repo, after = nameless.groups()
            paths.append(f"{before}{NAMELESS}/{repo}{after}")
            with contextlib.suppress(HubError):
                call.store.get(kind_of(kind), decode(repo))
                paths.reverse()
        for path in paths:
            matches = [
                (route, match) for route in self.routes if (match := route.pattern.fullmatch(path))
            ]
            if matches:
                return matches
        return []

    async def _run(self, route: Route, call: Call) -> Response:
        named = "repo" in call.args
        if named:
            call.repository = await run_in_threadpool(_open, call)
        if call.role < route.role:
            raise forbidden(call.role)
        try:
            if inspect.iscoroutinefunction(route.handler):
                answer: Response = await route.handler(call)
                return answer
            await call.read_body()
            return await run_in_threadpool(route.handler, call)  # type: ignore[arg-type]
        except (FileNotFoundError, KeyError):
            if named and not call.repository.folder.exists():
                raise repo_not_found() from None  # deleted or moved meanwhile
            raise


def _open(call: Call) -> Repository:
    """The repository that a path names; to a stranger a private one is as one that is missing."""
    missing = repo_not_found()
    if call.role is Role.NOBODY:
        missing = HubError(401, "Invalid username or password.", "RepoNotFound")
    try:
        opened = call.store.get(kind_of(call.args.get("type")), call.args["repo"], moved=True)
    except HubError:
        raise missing from None
    if opened.info.is_private and call.role < Role.READ:
        raise missing
    return opened


def kind_of(plural: str | None) -> str:
    """The type of repositories that a path names: `datasets` → `dataset`, nothing → `model`."""
    return (plural or "models").removesuffix("s")


def forbidden(role: Role) -> HubError:
    if role is Role.NOBODY:
        return HubError(401, "Invalid username or password.")
    return HubError(403, "This token may read only; writing needs the write token")


def decode(text: str) -> str:
    """A percent-encoded part of a path.

    Raises:
        HubError: 400 if it is no UTF-8.
    """
    try:
        return unquote_to_bytes(text).decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise bad_request("The path is no UTF-8") from None


def member(body: dict[str, Any], name: str, kind: type[T], default: T | None = None) -> T:
    """A member of a JSON body; null counts as missing.

    Raises:
        HubError: 400 if it is missing without a default, or of another type.
    """
    value = body.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise bad_request(f"`{name}` is missing or no {kind.__name__}")
    if kind is str:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise bad_request(f"`{name}` is no valid Unicode") from None
    return value


def error_response(error: HubError) -> Response:
    message = re.sub(r"[^\x20-\x7e]", "?", error.message)[:500]
    code = {} if error.code is None else {"X-Error-Code": error.code}
    headers = {"X-Error-Message": message, **code, **error.headers}
    return JSONResponse({"error": error.message, **error.more}, error.status, headers)


def next_page(call: Call, **changes: str | int) -> dict[str, str]:
    """The Link header that leads to the next page: the same question, with these changes."""
    query = urlencode({**call.request.query_params, **changes})
    return {"Link": f'<{call.endpoint}{raw_path(call.request)}?{query}>; rel="next"'}


def raw_path(request: Request) -> str:
    """The path as it came, percent-encoded: `refs%2Fpr%2F1` is one name in it."""
    return str(request.scope["raw_path"], "latin-1")


async def drain(request: Request, most: int) -> None:
    """Reads on after an error, so that the client comes to see the answer."""
    read = 0
    with contextlib.suppress(RuntimeError):  # what Starlette raises when all was read before
        async for chunk in request.stream():
            read += len(chunk)
            if read > most:
                return
