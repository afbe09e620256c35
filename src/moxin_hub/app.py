"""The server as an ASGI application: every request passes the same checks, and is answered."""

import logging
import secrets
import time

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from moxin_hub import pages, refused, routes_files, routes_git, routes_repos
from moxin_hub.auth import Gate, Role, check_host
from moxin_hub.errors import refusal_of
from moxin_hub.lfs import PART
from moxin_hub.store import Store
from moxin_hub.web import Call, Router, drain, error_response, raw_path

logger = logging.getLogger(__name__)
TABLES = (
    refused.router,
    routes_repos.router,
    routes_git.router,
    routes_files.router,
    pages.router,  # last: their paths are the most general
)


class App:
    """One Hub: a store and its gate behind the endpoint table."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self._router = Router([route for table in TABLES for route in table.routes])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        started = time.monotonic()
        request_id = secrets.token_hex(8)
        status = 499  # the client left before it had an answer

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            response = await self._answer(request)
            await response(scope, receive, send_marked)
        except ClientDisconnect:
            pass
        finally:
            # Neither query nor headers: they carry signatures and tokens.
            path = scope["raw_path"].decode("ascii", "replace")[:300]
            took = (time.monotonic() - started) * 1000
            logger.info("%s %s %r %d %.0f ms", request_id, request.method, path, status, took)

    async def _answer(self, request: Request) -> Response:
        try:
            check_host(request.headers.get("host"))
            role = self._gate.role(request.headers.get("authorization"))
            is_api = raw_path(request).startswith(("/api/", "/lfs/"))
            if role is Role.NOBODY and request.method in ("GET", "HEAD") and not is_api:
                role = self._gate.browser_role(request.cookies)
            call = Call(request, self._store, self._gate, role, {})
            return await self._router.answer(call)
        except ClientDisconnect:
            raise
        except Exception as error:
            refusal = refusal_of(error)
        if refusal.status != 413:
            await drain(request, PART * 2)
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return pages.error_page(refusal)
        return error_response(refusal)
