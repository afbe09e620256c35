"""Teachers that are asked: an endpoint, or a model in this process. They answer in any order."""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from moxin_recipes.arguments import DistillArguments
from moxin_recipes.data.samples import Answer
from moxin_recipes.data.traces import as_chain, joined
from moxin_recipes.strict import RecipeError

TOKEN = "MOXIN_TEACHER_TOKEN"
TRIES = 8  # of one request
PAUSE = 1.0  # seconds before the second try; doubled before each further one
LONGEST_PAUSE = 60.0
_PASSING = (408, 409, 425, 429)  # and all from 500 on: worth another try


@dataclass(frozen=True)
class Request:
    """One sample of one problem that is wanted."""

    problem: int
    sample: int
    prompt: str
    seed: int


Teacher = Callable[[Sequence[Request]], Iterator[Answer]]


def request(own: DistillArguments, problem: int, sample: int, text: str) -> Request:
    """The request for a sample; its seed is a function of the recipe's, the problem and it."""
    digest = hashlib.sha256(f"{own.seed} {problem} {sample}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") >> 1
    return Request(problem, sample, text + own.prompt_suffix, seed)


def _turns(one: Request) -> list[dict[str, str]]:
    return [{"role": "user", "content": one.prompt}]


class TeacherDown(RecipeError):
    """The endpoint does not answer any more."""


class Endpoint:
    """Any OpenAI-compatible endpoint, by `huggingface_hub.InferenceClient`.

    Up to `concurrency` requests are on their way. What may pass (429, 5xx, a time-out, a broken
    answer) is tried again with growing pauses. A request that fails to the end while others
    succeed is an answer without text; one that fails while none succeeds means that the endpoint
    is down: the answers that are on their way are still given, then TeacherDown is raised.
    """

    def __init__(self, own: DistillArguments) -> None:
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
            if self._down.is_set():
                break
            try:
                answer = self._answer(one)
            except HfHubHTTPError as error:
                status = error.response.status_code
                why = f"HTTP {status}"
                if status in (401, 403, 404):
                    raise self._gone(f"{why}; is `teacher_model` right, and {TOKEN}?") from None
                if status < 500 and status not in _PASSING:
                    return Answer(one.problem, one.sample, "", failure=f"teacher refused: {why}")
                after = error.response.headers.get("retry-after", "")
            except (InferenceTimeoutError, httpx2.HTTPError) as error:
                why, after = type(error).__name__, ""
            except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                why, after = "no whole answer", ""
            else:
                self._succeeded += 1
                return answer
            pause = float(after) if after.isdigit() else PAUSE * 2**attempt
            if attempt + 1 < TRIES:
                self._down.wait(min(pause, LONGEST_PAUSE) * random.uniform(0.5, 1))
        if self._succeeded == before or self._down.is_set():
            raise self._gone(why)
        return Answer(one.problem, one.sample, "", failure=f"teacher failed: {why}")

    def _answer(self, one: Request) -> Answer:
        own = self._own
        output = self._client.chat_completion(
            _turns(one),
            model=own.teacher_model,
            max_tokens=own.max_new_tokens,
            temperature=own.temperature,
            top_p=own.top_p,
            seed=one.seed,
        )
        message, usage = output.choices[0].message, getattr(output, "usage", None)
        # Servers that parse thoughts give them apart from the answer.
        thought = getattr(message, "reasoning_content", None) or message.reasoning
        said = message.content or ""
        if not said and not thought:
            raise ValueError("an empty answer")
        text = joined(thought, said) if thought else as_chain(said)
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        return Answer(one.problem, one.sample, text, *tokens)

    def _gone(self, why: str) -> TeacherDown:
        self._why = self._why or why
        self._down.set()
        return TeacherDown(f"`base_url`: {self._own.base_url} does not answer ({self._why})")


class Transformers:
    """A model of the Hub in this process, `concurrency` samples at a time."""

    def __init__(self, own: DistillArguments, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._own = own
        gpu = torch.cuda.is_available()
        dtype = torch.bfloat16 if gpu else torch.float32
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self._model = model.to("cuda" if gpu else "cpu")
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def __call__(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Answers batch by batch, each drawn by its own seed.

        After a kill the rest is grouped anew: the same draws, but for roundings of other padding.
        """
        waiting = iter(requests)
        while batch := list(islice(waiting, self._own.concurrency)):
            yield from self._answers(batch)

    def _answers(self, batch: list[Request]) -> list[Answer]:
        import torch
        from transformers import LogitsProcessorList

        from moxin_recipes.data.own_draws import OwnDraws

        own, tokenizer = self._own, self._tokenizer
        inputs = tokenizer.apply_chat_template(
            [_turns(one) for one in batch],
            add_generation_prompt=True,
            padding=True,
            tokenizer_kwargs={"padding_side": "left"},
            return_tensors="pt",
            return_dict=True,
        ).to(self._model.device)
        seeds = [one.seed for one in batch]
        drawn = (
            [OwnDraws(seeds, own.temperature, own.top_p, self._model.device)]
            if own.temperature
            else []
        )
        with torch.inference_mode():
            output = self._model.generate(
                **inputs,
                max_new_tokens=own.max_new_tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList(drawn),
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )[:, inputs["input_ids"].shape[1] :]
        asked = inputs["attention_mask"].sum(1).tolist()
        answers = []
        for one, prompt_tokens, ids in zip(batch, asked, output.tolist(), strict=True):
            ended = ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else None
            said = ids[:ended]
            text = as_chain(tokenizer.decode(said, skip_special_tokens=True))
            answers.append(Answer(one.problem, one.sample, text, prompt_tokens, len(said)))
        return answers


class Vllm:
    """A model of the Hub in vLLM on this machine's GPUs (extra `vllm`).

    Written against vLLM's documented offline interface; not run by us, for want of a GPU. The
    other way is `vllm serve` with `teacher: endpoint`, which is tested with another server.
    """

    def __init__(self, own: DistillArguments, folder: Path) -> None:
        try:
            import vllm
        except ImportError as error:
            raise RecipeError("`teacher: vllm` needs the extra: pip install '.[vllm]'") from error
        self._own, self._vllm = own, vllm
        self._model: Any = vllm.LLM(model=str(folder), seed=own.seed)

    def __call__(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Answers in batches of `concurrency`, so that a kill loses at most one of them."""
        own, waiting = self._own, iter(requests)
        while batch := list(islice(waiting, own.concurrency)):
            sampling = [
                self._vllm.SamplingParams(
                    temperature=own.temperature,
                    top_p=own.top_p,
                    max_tokens=own.max_new_tokens,
                    seed=one.seed,
                )
                for one in batch
            ]
            outputs = self._model.chat([_turns(one) for one in batch], sampling)
            for one, output in zip(batch, outputs, strict=True):
                said = output.outputs[0]
                counts = (len(output.prompt_token_ids), len(said.token_ids))
                yield Answer(one.problem, one.sample, as_chain(said.text), *counts)
