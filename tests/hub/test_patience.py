"""A busy Hub is asked again when it says so, for as long as that may take, and no change twice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest

from moxin_recipes.hub import patience

URL = "http://127.0.0.1/api/whoami-v2"


class Hub:
    """Gives its answers one after the other, and the last one from then on; counts requests."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.answers, self.asked = list(answers), 0

    def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        status, headers = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return httpx2.Response(status, headers=headers, request=request)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The pauses that were made, by a clock that only they move."""
    made: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", made.append)
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(made))
    monkeypatch.setattr(patience, "_refused", {})
    return made


def ask(hub: Hub, method: str = "GET", path: str = "", **content: Any) -> int:
    return patience._send(hub.send, httpx2.Request(method, URL + path, **content)).status_code


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [
        (429, {"Retry-After": "7"}, 7),
        (503, {"retry-after": "0"}, 0),
        (429, {"RateLimit": '"api";r=0;t=55'}, 56),
        (429, {"ratelimit": '"api";r=3;t=55', "retry-after": "2"}, 2),
        (500, {}, 1),
        (502, {"retry-after": "soon"}, 1),
    ],
)
def test_it_waits_as_long_as_the_hub_says(
    pauses: list[float], status: int, headers: dict[str, str], pause: float
) -> None:
    assert ask(Hub((status, headers), (200, {}))) == 200
    assert pauses == [pause]


def test_a_date_is_waited_for(pauses: list[float]) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert ask(Hub((503, {"retry-after": soon}), (200, {}))) == 200
    assert 15 < pauses[0] <= 20


def test_pauses_grow_up_to_a_limit(pauses: list[float]) -> None:
    hub = Hub((503, {}))
    assert ask(hub) == 503
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert patience.LIMIT - 30 <= sum(pauses) <= patience.LIMIT
    for number in range(5):  # as the library repeats it, and asks for more
        assert ask(hub, path=f"/{number // 2}") == 503
    assert sum(pauses) <= patience.LIMIT


def test_one_address_that_always_fails_is_given_up(pauses: list[float]) -> None:
    hub, good = Hub((500, {})), Hub((200, {}))

    def send(request: httpx2.Request, **_: Any) -> httpx2.Response:
        patience._send(good.send, httpx2.Request("GET", URL))  # another thread's
        return hub.send(request)

    assert patience._send(send, httpx2.Request("GET", URL + "/bad")).status_code == 500
    assert sum(pauses) <= patience.LIMIT


def test_trouble_long_ago_does_not_count(pauses: list[float]) -> None:
    assert ask(Hub((503, {}))) == 503
    pauses.append(2 * patience.LIMIT)  # and nothing was asked
    assert ask(Hub((429, {"retry-after": "5"}), (200, {}))) == 200
    assert pauses[-1] == 5


def test_more_than_the_limit_is_not_waited_for(pauses: list[float]) -> None:
    assert ask(Hub((429, {"retry-after": "86400"}))) == 429
    assert pauses == []


@pytest.mark.parametrize(
    ("method", "status", "content", "times"),
    [
        ("POST", 429, {"json": {}}, 2),
        ("POST", 500, {"json": {}}, 1),  # it may be done
        ("PUT", 503, {"content": iter([b"read once"])}, 1),
        ("GET", 404, {}, 1),
        ("GET", 507, {}, 1),
        ("HEAD", 504, {}, 2),
    ],
)
def test_what_may_be_sent_again(
    pauses: list[float], method: str, status: int, content: dict[str, Any], times: int
) -> None:
    hub = Hub((status, {}), (200, {}))
    ask(hub, method, **content)
    assert hub.asked == times
