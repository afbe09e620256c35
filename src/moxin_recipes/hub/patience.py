"""A Hub that is busy is asked again when it says so: 429 and 5xx, for all that its client asks."""

import functools
import logging
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers

log = logging.getLogger(__name__)
# Seconds for which a host, or one of its addresses, may refuse all that is asked. The time counts
# from the first refusal and not from each request, because the library repeats some of them itself.
LIMIT = 600.0
_LONGEST = 30.0  # seconds between two tries where the Hub names no time
_NOT_DONE = (429, 503)  # the request was not looked at, so a change may be sent again, too
_PASSING = (*_NOT_DONE, 408, 500, 502, 504)
_HUB = re.compile(r"/api/|.*\.git/")  # the paths of a Hub that change something
_refused: dict[str, tuple[float, float]] = {}  # host or address → first and last refusal


def patient_client() -> httpx2.Client:
    """The library's own client, which also waits while the Hub is busy."""
    client = default_client_factory()
    client.send = functools.partial(_send, client.send)  # type: ignore[method-assign]
    return client


def _send(
    send: Callable[..., httpx2.Response], request: httpx2.Request, **options: Any
) -> httpx2.Response:
    """Sends a request, again and again while the answer is that the Hub is busy.

    After `LIMIT` seconds, and where the Hub asks for more than is left of them, that answer is
    returned.
    """
    asked_of, pause = (request.url.host, f"{request.method} {request.url}"), 1.0
    while True:
        response = send(request, **options)
        if not _again(request, response.status_code):
            for name in asked_of:
                _refused.pop(name, None)
            return response
        since = min(map(_since, asked_of))
        asked = _asked_pause(response)
        wait = pause if asked is None else asked
        if time.monotonic() + wait > since + LIMIT:
            return response
        response.close()
        log.warning(
            "%s is busy (%d); asked again in %.0f s", request.url.host, response.status_code, wait
        )
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST)


def _since(name: str) -> float:
    """When a host or an address began to refuse; an absence of refusals ends that time, too."""
    now = time.monotonic()
    first, last = _refused.get(name, (now, now))
    first = now if now - last > LIMIT else first
    _refused[name] = (first, now)
    return first


def _again(request: httpx2.Request, status: int) -> bool:
    if not isinstance(request.stream, httpx2.ByteStream):  # a file, which has been read
        return False
    changes = request.method not in ("GET", "HEAD")
    if changes and not _HUB.match(request.url.path):  # a teacher of distillation
        return False
    return status in (_NOT_DONE if changes else _PASSING)


def _asked_pause(response: httpx2.Response) -> float | None:
    """Seconds that the Hub asks to wait; None where it does not say."""
    limits = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limits is not None and limits.remaining == 0:
        return limits.reset_in_seconds + 1.0
    said = response.headers.get("retry-after", "").strip()
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None
