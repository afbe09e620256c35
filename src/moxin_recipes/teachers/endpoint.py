"""Asks a teacher behind an OpenAI-compatible endpoint, in parallel and with retries."""

import os
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any

import httpx2
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.teachers.answers import Answer
from moxin_recipes.teachers.ask import Request, turns
from moxin_recipes.teachers.traces import as_chain, joined

TOKEN = "MOXIN_TEACHER_TOKEN"
TRIES = 8  # for one request
PAUSE = 1.0  # seconds before the second try; each further pause is twice as long
LONGEST_PAUSE = 60.0  # seconds
# A question that every endpoint answers: it tells a bad request from an endpoint that is down.
PLAIN = Request(-1, 0, "What is 1+1?", 0)
_RETRIED = (408, 409, 425, 429)  # HTTP statuses that get another try, as do all from 500 on
_UNREACHED = (InferenceTimeoutError, httpx2.HTTPError)
# A broken or an empty answer raises one of these.
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError)
# How servers say that a text ended at its limit, that it was taken away, and that they failed.
_CUT = ("length", "max_tokens", "max_length", "model_length")
_FILTERED = ("content_filter", "safety", "recitation", "refusal")
_FAILED = ("error", "abort")


class TeacherDown(RecipeError):
    """The endpoint no longer answers."""


class _Again(Exception):
    """A try failed, and another may succeed; the server may say after how many seconds."""

    def __init__(self, why: str, seconds: str = "") -> None:
        super().__init__(why)
        self.seconds = float(seconds) if seconds.isdigit() else None


class Endpoint:
    """Asks any OpenAI-compatible endpoint through `huggingface_hub.InferenceClient`.

    Up to `concurrency` requests are in flight. After a temporary failure (429, 5xx, a time-out, a
    broken or empty answer) it tries again, with growing pauses. If no other request was answered
    meanwhile, it asks a plain question before the last try. If the endpoint does not answer that
    either, the endpoint is down: the answers in flight are still yielded, then TeacherDown is
    raised. Otherwise the request itself is at fault, and its answer has no text.
    """

    def __init__(self, keys: DistillKeys) -> None:
        if not keys.base_url or not keys.teacher_model:
            raise RecipeError("`teacher: endpoint` needs `base_url` and `teacher_model`")
        self._keys = keys
        # Without an explicit token, the client would send the Hub's token to this server.
        token = os.environ.get(TOKEN) or "none"
        self._client = InferenceClient(
            base_url=keys.base_url, api_key=token, timeout=keys.request_seconds
        )
        self._succeeded = 0
        self._why_down = ""
        self._down = threading.Event()

    def __call__(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yields answers in the order in which they arrive."""
        remaining = iter(requests)
        pending: set[Future[Answer]] = set()
        error: BaseException | None = None
        with ThreadPoolExecutor(self._keys.concurrency) as threads:
            try:
                while True:
                    room = 0 if error else self._keys.concurrency - len(pending)
                    batch = islice(remaining, room)
                    pending |= {threads.submit(self._ask, request) for request in batch}
                    if not pending:
                        break
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        error = error or future.exception()
                        if not future.exception():
                            yield future.result()
            finally:
                self._down.set()  # ends the pauses in the other threads
        if error:
            raise error

    def _ask(self, request: Request) -> Answer:
        before = self._succeeded
        why = ""
        for attempt in range(TRIES):
            last = attempt + 1 == TRIES
            if self._down.is_set() or (last and self._succeeded == before and not self._alive()):
                raise self._gone(why)
            try:
                return replace(self._try(request), retries=attempt)
            except _Again as again:
                why = str(again)
                pause = again.seconds if again.seconds is not None else PAUSE * 2**attempt
            if not last:
                self._down.wait(min(pause, LONGEST_PAUSE) * random.uniform(0.5, 1))
        failure = f"teacher failed: {why}"
        return Answer(request.problem, request.sample, "", failure=failure, retries=TRIES - 1)

    def _try(self, request: Request) -> Answer:
        """Tries once. A refused request gives an answer without text; raises _Again to retry."""
        try:
            answer = self._answer(request)
        except HfHubHTTPError as error:
            status = error.response.status_code
            why = f"HTTP {status}"
            # Some endpoints answer 403 to a prompt that their moderation rejects.
            if status in (401, 404) or (status == 403 and not self._alive()):
                raise self._gone(f"{why}; is `teacher_model` right, and {TOKEN}?") from None
            if status < 500 and status not in _RETRIED:
                return Answer(
                    request.problem, request.sample, "", failure=f"teacher refused: {why}"
                )
            raise _Again(why, error.response.headers.get("retry-after", "")) from None
        except _UNREACHED as error:
            raise _Again(type(error).__name__) from None
        except _BROKEN:
            raise _Again("no whole answer") from None
        self._succeeded += 1
        return answer

    def _alive(self) -> bool:
        """Returns whether the endpoint answers a plain question."""
        try:
            self._answer(PLAIN)
        except (HfHubHTTPError, *_UNREACHED, *_BROKEN):
            return False
        return True

    def _answer(self, request: Request) -> Answer:
        keys = self._keys
        output = self._client.chat_completion(
            turns(request),
            model=keys.teacher_model,
            max_tokens=keys.max_new_tokens,
            temperature=keys.temperature,
            top_p=keys.top_p,
            seed=request.seed,
        )
        choice, message = output.choices[0], output.choices[0].message
        ended = str(choice.finish_reason or "").lower()
        # Some servers separate the thought from the answer.
        reasoning = (
            _said(getattr(message, "reasoning_content", None))
            or _said(message.reasoning)
            or _said(message.content, "thinking")
        )
        content = _said(message.content)
        refusal = _said(getattr(message, "refusal", None)) or _said(message.content, "refusal")
        if ended in _FAILED or not (content or reasoning or refusal or ended in _FILTERED):
            raise ValueError("no whole answer")
        failure = ""
        if ended in _FILTERED or not (content or reasoning):
            failure = f"teacher refused: {ended if ended in _FILTERED else 'a refusal'}"
        text = joined(reasoning, content) if reasoning else as_chain(content or refusal)
        usage = getattr(output, "usage", None)
        counts = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        return Answer(
            request.problem, request.sample, text, *counts, failure=failure, cut=ended in _CUT
        )

    def _gone(self, why: str) -> TeacherDown:
        self._why_down = self._why_down or why
        self._down.set()
        return TeacherDown(f"`base_url`: {self._keys.base_url} does not answer ({self._why_down})")


def _said(value: Any, kind: str = "text") -> str:
    """What a message says: a text, or its typed parts of one kind, which may have parts, too."""
    if isinstance(value, str):
        return value if kind == "text" else ""
    parts = value if isinstance(value, list) else []
    found = (part.get(kind) for part in parts if isinstance(part, dict))
    return "".join(one if isinstance(one, str) else _said(one) for one in found)


def _count(usage: Any, name: str) -> int:
    """A count of tokens; 0 where the server reports none."""
    count = getattr(usage, name, None)
    return count if isinstance(count, int) else 0
