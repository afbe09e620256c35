"""Teachers that are asked: what is asked of them, and those that are a model in this process."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.teachers.answers import Answer
from moxin_recipes.teachers.traces import as_chain


@dataclass(frozen=True)
class Request:
    """One sample of one problem that is wanted."""

    problem: int
    sample: int
    prompt: str
    seed: int


Teacher = Callable[[Sequence[Request]], Iterator[Answer]]  # answers in any order


def request(own: DistillKeys, problem: int, sample: int, text: str) -> Request:
    """The request for a sample; its seed is a function of the recipe's, the problem and it."""
    digest = hashlib.sha256(f"{own.seed} {problem} {sample}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") >> 1
    return Request(problem, sample, text + own.prompt_suffix, seed)


def turns(one: Request) -> list[dict[str, str]]:
    """The conversation that a request is."""
    return [{"role": "user", "content": one.prompt}]


class Transformers:
    """A model of the Hub in this process, `concurrency` samples at a time."""

    def __init__(self, own: DistillKeys, folder: Path) -> None:
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

        from moxin_recipes.teachers.draws import OwnDraws

        own, tokenizer = self._own, self._tokenizer
        inputs = tokenizer.apply_chat_template(
            [turns(one) for one in batch],
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
            counts = (prompt_tokens, len(said))
            answers.append(Answer(one.problem, one.sample, text, *counts, cut=ended is None))
        return answers


class Vllm:
    """A model of the Hub in vLLM on this machine's GPUs (extra `vllm`).

    Written against vLLM's documented offline interface; not run by us, for want of a GPU. The
    other way is `vllm serve` with `teacher: endpoint`, which is tested with another server.
    """

    def __init__(self, own: DistillKeys, folder: Path) -> None:
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
            outputs = self._model.chat([turns(one) for one in batch], sampling)
            for one, output in zip(batch, outputs, strict=True):
                said = output.outputs[0]
                counts = (len(output.prompt_token_ids), len(said.token_ids))
                cut = said.finish_reason == "length"
                yield Answer(one.problem, one.sample, as_chain(said.text), *counts, cut=cut)
