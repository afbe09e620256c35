"""Requests to a teacher, and the teachers that are a model in this process."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from moxin_recipes.problems import prompts
from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.teachers.answers import Answer
from moxin_recipes.teachers.traces import as_chain


@dataclass(frozen=True)
class Request:
    """Asks for one answer: number `sample` of the answers to a problem."""

    problem: int
    sample: int
    prompt: str
    seed: int
    system: str | None = None


Teacher = Callable[[Sequence[Request]], Iterator[Answer]]  # answers in any order


def request(keys: DistillKeys, problem: int, sample: int, text: str) -> Request:
    """Returns the request for one answer to the problem `text`.

    Its seed is a function of the recipe's `seed`, the problem's row and the sample's number.
    """
    digest = hashlib.sha256(f"{keys.seed} {problem} {sample}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") >> 1
    asked = prompts.turns(text, None, keys.prompt_suffix)[-1]["content"]
    return Request(problem, sample, asked, seed, keys.system_prompt)


def turns(request: Request) -> list[dict[str, str]]:
    """Returns a request as a conversation: the system prompt, if any, and the user's turn."""
    return prompts.turns(request.prompt, request.system, "")


class Transformers:
    """Runs a model of the Hub in this process, on batches of `concurrency` requests."""

    def __init__(self, keys: DistillKeys, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from moxin_recipes.chats import template

        self._keys = keys
        self._tokenizer = _tokenizer(folder, keys.system_prompt)
        gpu = torch.cuda.is_available()
        dtype = torch.bfloat16 if gpu else torch.float32
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self._model = model.to("cuda" if gpu else "cpu")
        self._ends = template.ends(self._tokenizer, model.generation_config)

    def __call__(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Answers batch by batch; each request has a seed of its own.

        After a kill, the remaining requests form other batches. They get the same random draws,
        but other padding may round their logits differently.
        """
        remaining = iter(requests)
        while batch := list(islice(remaining, self._keys.concurrency)):
            yield from self._answers(batch)

    def _answers(self, batch: list[Request]) -> list[Answer]:
        import torch
        from transformers import LogitsProcessorList

        from moxin_recipes.teachers.draws import SeededDraws

        keys, tokenizer = self._keys, self._tokenizer
        inputs = tokenizer.apply_chat_template(
            [turns(request) for request in batch],
            add_generation_prompt=True,
            padding=True,
            tokenizer_kwargs={"padding_side": "left"},
            return_tensors="pt",
            return_dict=True,
        ).to(self._model.device)
        seeds = [request.seed for request in batch]
        drawn = (
            [SeededDraws(seeds, keys.temperature, keys.top_p, self._model.device)]
            if keys.temperature
            else []
        )
        with torch.inference_mode():
            output = self._model.generate(
                **inputs,
                max_new_tokens=keys.max_new_tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList(drawn),
                eos_token_id=self._ends,
                pad_token_id=tokenizer.pad_token_id,
            )[:, inputs["input_ids"].shape[1] :]
        prompt_counts = inputs["attention_mask"].sum(1).tolist()
        answers = []
        for request, prompt_tokens, ids in zip(batch, prompt_counts, output.tolist(), strict=True):
            ended = next((at + 1 for at, token in enumerate(ids) if token in self._ends), None)
            completion = ids[:ended]
            text = as_chain(tokenizer.decode(completion, skip_special_tokens=True))
            counts = (prompt_tokens, len(completion))
            answers.append(
                Answer(request.problem, request.sample, text, *counts, cut=ended is None)
            )
        return answers


class Vllm:
    """Runs a model of the Hub in vLLM on this machine's GPUs (extra `vllm`).

    It follows vLLM's documented offline interface. We have not run it, because we have no GPU. The
    other way is `vllm serve` with `teacher: endpoint`, which is tested with another server.
    """

    def __init__(self, keys: DistillKeys, folder: Path) -> None:
        try:
            import vllm
        except ImportError as error:
            raise RecipeError("`teacher: vllm` needs the extra: pip install '.[vllm]'") from error
        self._keys, self._vllm = keys, vllm
        from transformers import GenerationConfig

        from moxin_recipes.chats import template

        # Beside those that the model's own files name, which vLLM reads.
        self._ends = template.ends(_tokenizer(folder, keys.system_prompt), GenerationConfig())
        self._model: Any = vllm.LLM(model=str(folder), seed=keys.seed)

    def __call__(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Answers in batches of `concurrency`, so that a kill loses at most one batch."""
        keys, remaining = self._keys, iter(requests)
        while batch := list(islice(remaining, keys.concurrency)):
            sampling = [
                self._vllm.SamplingParams(
                    temperature=keys.temperature,
                    top_p=keys.top_p,
                    max_tokens=keys.max_new_tokens,
                    seed=request.seed,
                    stop_token_ids=self._ends,
                )
                for request in batch
            ]
            outputs = self._model.chat([turns(request) for request in batch], sampling)
            for request, output in zip(batch, outputs, strict=True):
                completion = output.outputs[0]
                counts = (len(output.prompt_token_ids), len(completion.token_ids))
                cut = completion.finish_reason == "length"
                yield Answer(
                    request.problem, request.sample, as_chain(completion.text), *counts, cut=cut
                )


def _tokenizer(folder: Path, system: str | None) -> Any:
    """The tokenizer of a teacher, with a chat template that can ask and a token to pad with."""
    from transformers import AutoTokenizer

    from moxin_recipes.chats import template

    tokenizer = AutoTokenizer.from_pretrained(folder)
    template.settle(tokenizer, "model_name_or_path")
    template.check_system(tokenizer, system)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
