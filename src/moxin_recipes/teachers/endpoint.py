"""A teacher behind an OpenAI-compatible endpoint, asked in parallel and with patience."""

import os
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.teachers.answers import Answer
from moxin_recipes.teachers.ask import Request, turns
from moxin_recipes.teachers.traces import as_chain, joined

TOKEN = "MOXIN_TEACHER_TOKEN"
TRIES = 8  # of one request
PAUSE = 1.0  # seconds before the second try; doubled before each further one
LONGEST_PAUSE = 60.0
PLAIN = Request(-1, 0, "What is 1+1?", 0)  # tells a request at fault from an endpoint that is down
_PASSING = (408, 409, 425, 429)  # and all from 500 on: worth another try
_UNREACHED = (InferenceTimeoutError, httpx2.HTTPError)
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError)  # or empty


class TeacherDown(RecipeError):
    """The endpoint does not answer any more."""


class _Again(Exception):
    """A try failed in a way that may pass; the server may say after how many seconds."""

    def __init__(self, why: str, seconds: str = "") -> None:
        super().__init__(why)
        self.seconds = float(seconds) if seconds.isdigit() else None


class Endpoint:
    """Any OpenAI-compatible endpoint, by `huggingface_hub.InferenceClient`.

    Up to `concurrency` requests are on their way. What may pass (429, 5xx, a time-out, a broken or
    empty answer) is tried again with growing pauses. Before the last try of a request, where no
    other one was answered meanwhile, a plain question is asked. Where that has no answer either,
    the endpoint is down: the answers that are on their way are still given, then TeacherDown is
    raised. Else the request itself is at fault, and ends as an answer without text.
    """

    def __init__(self, own: DistillKeys) -> None:
        if not own.base_url or not own.teacher_model:
            raise RecipeError("`teacher: endpoint` needs `base_url` and `teacher_model`")
        if urlsplit(own.base_url).username:
            raise RecipeError(f"`base_url`: secrets do not belong in a recipe; set {TOKEN}")
        self._own = own
        # Without one of its own, the client would send the Hub's token to whoever is there.
        token = os.environ.get(TOKEN) or "none"
        self._client = InferenceClient(
            base_url=own.base_url, api_key=token, timeout=own.request_seconds
        )
        self._succeeded = 0
        self._why = ""  # it is down
        self._down = threading.Event()

    def __call__(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Answers as they come."""
        waiting = iter(requests)
        flying: set[Future[Answer]] = set()
        error: BaseException | None = None
        with ThreadPoolExecutor(self._own.concurrency) as threads:
            try:
                while True:
                    room = 0 if error else self._own.concurrency - len(flying)
                    flying |= {threads.submit(self._ask, one) for one in islice(waiting, room)}
                    if not flying:
                        break
                    done, flying = wait(flying, return_when=FIRST_COMPLETED)
                    for future in done:
                        error = error or future.exception()
                        if not future.exception():
                            yield future.result()
            finally:
                self._down.set()  # ends the pauses of the others
        if error:
            raise error

    def _ask(self, one: Request) -> Answer:
        before = self._succeeded
        why = ""
        for attempt in range(TRIES):
            last = attempt + 1 == TRIES
            if self._down.is_set() or (last and self._succeeded == before and not self._alive()):
                raise self._gone(why)
            try:
                return replace(self._try(one), retries=attempt)
            except _Again as again:
                why = str(again)
                pause = again.seconds if again.seconds is not None else PAUSE * 2**attempt
            if not last:
                self._down.wait(min(pause, LONGEST_PAUSE) * random.uniform(0.5, 1))
        failure = f"teacher failed: {why}"
        return Answer(one.problem, one.sample, "", failure=failure, retries=TRIES - 1)

    def _try(self, one: Request) -> Answer:
        """One try: an answer, or one without text to what is refused; else _Again."""
        try:
            answer = self._answer(one)
        except HfHubHTTPError as error:
            status = error.response.status_code
            why = f"HTTP {status}"
            # Some endpoints say 403 to a prompt that their moderation does not like.
            if status in (401, 404) or (status == 403 and not self._alive()):
                raise self._gone(f"{why}; is `teacher_model` right, and {TOKEN}?") from None
            if status < 500 and status not in _PASSING:
                return Answer(one.problem, one.sample, "", failure=f"teacher refused: {why}")
            raise _Again(why, error.response.headers.get("retry-after", "")) from None
        except _UNREACHED as error:
            raise _Again(type(error).__name__) from None
        except _BROKEN:
            raise _Again("no whole answer") from None
        self._succeeded += 1
        return answer

    def _alive(self) -> bool:
        """Whether a plain question is answered."""
        try:
            self._answer(PLAIN)
        except (HfHubHTTPError, *_UNREACHED, *_BROKEN):
            return False
        return True

    def _answer(self, one: Request) -> Answer:
        own = self._own
        output = self._client.chat_completion(
            turns(one),
            model=own.teacher_model,
            max_tokens=own.max_new_tokens,
            temperature=own.temperature,
            top_p=own.top_p,
            seed=one.seed,
        )
        choice, usage = output.choices[0], getattr(output, "usage", None)
        message = choice.message
        # Servers that parse thoughts give them apart from the answer.
        thought = getattr(message, "reasoning_content", None) or message.reasoning
        said = message.content or ""
        if not said and not thought:
            raise ValueError("an empty answer")
        text = joined(thought, said) if thought else as_chain(said)
        asked, given = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        cut = choice.finish_reason == "length"
        return Answer(one.problem, one.sample, text, asked, given, cut=cut)

    def _gone(self, why: str) -> TeacherDown:
        self._why = self._why or why
        self._down.set()
        return TeacherDown(f"`base_url`: {self._own.base_url} does not answer ({self._why})")
