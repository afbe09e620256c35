"""A Hub that is busy is asked again when it says so: 429 and 5xx, for all that its client asks."""

import functools
import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers

log = logging.getLogger(__name__)
# Seconds for which one address may refuse. The library repeats some requests itself, six times in
# all, so the time counts from the first refusal of an address and not from each request.
LIMIT = 600.0
_LONGEST = 30.0  # seconds between two tries where the Hub names no time
_NOT_DONE = (429, 503)  # the request was not looked at, so a change may be sent again, too
_PASSING = (*_NOT_DONE, 408, 500, 502, 504)
_refused_since: dict[tuple[str, str], float] = {}


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
    address, pause = (request.method, str(request.url)), 1.0
    while True:
        response = send(request, **options)
        if not _again(request, response.status_code):
            _refused_since.pop(address, None)
            return response
        since = _refused_since.setdefault(address, time.monotonic())
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


def _again(request: httpx2.Request, status: int) -> bool:
    if not isinstance(request.stream, httpx2.ByteStream):  # a file, which has been read
        return False
    return status in (_PASSING if request.method in ("GET", "HEAD") else _NOT_DONE)


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
