"""Encodes chats as token ids, with labels for the assistant's tokens only."""

import contextlib
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from moxin_recipes.chats import checks, rendering, spans
from moxin_recipes.chats.rendering import Messages, Template, Unusable
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.base import TEMPLATES
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, template: str | None, pad_token: str | None
) -> None:
    """Sets the chat template (a file of templates/, or a path) and the padding token, if given.

    The token that ends the template's turns becomes the EOS, as in `settle`. Raises RecipeError if
    the tokenizer then has no usable template (`settle`, `check_learnable`), or no padding token, or
    if it pads with its EOS: the end of a text would be masked.
    """
    if template:
        path = TEMPLATES / template if (TEMPLATES / template).exists() else Path(template)
        if not path.exists():
            raise RecipeError(f"`chat_template`: there is no file {template}")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    if pad_token:
        tokenizer.pad_token = pad_token
    if tokenizer.chat_template is None:
        raise RecipeError("`chat_template`: the model has none; give a file, such as tulu.jinja")
    if tokenizer.eos_token_id is None and "eos_token" in str(tokenizer.chat_template):
        raise RecipeError(
            "`model_name_or_path`: the tokenizer has no EOS, with which an answer ends; give it "
            "one (`tokenizer.eos_token = …`) and save it again"
        )
    settle(tokenizer, "chat_template")
    check_learnable(tokenizer, "chat_template")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        raise RecipeError("`pad_token`: the tokenizer has none of its own; give one, such as <unk>")


def settle(tokenizer: PreTrainedTokenizerBase, key: str) -> Template:
    """Makes a tokenizer agree with its chat template, and says what the template does by itself.

    The token that ends a turn becomes its EOS, unless the template writes the EOS elsewhere, too.
    A template that writes today's date writes one date from here on: results do not depend on the
    day. Raises RecipeError, with the recipe `key`, where no answer could be asked for or end.
    """
    if date := rendering.fix_date(tokenizer):
        log.info("the chat template writes today's date; here it is always %s", date)
    try:
        form = rendering.of(tokenizer)
    except Unusable as error:
        raise _refused(key, error) from error
    if form.inserted:
        log.info("the chat template begins chats without a system turn with %r", form.inserted)
    if form.opened:
        log.info("prompts open the answer with %r; scores read it, too", form.opened)
    old = tokenizer.eos_token
    if form.end != old:
        written = rendering.render(tokenizer, rendering.example())
        tokenizer.add_special_tokens({"eos_token": form.end})  # or decoding would keep it
        if rendering.render(tokenizer, rendering.example()) != written:
            tokenizer.eos_token = old
        log.info("the chat template ends turns with %s, not with %s: so do answers", form.end, old)
    return rendering.of(tokenizer)


def check_learnable(tokenizer: PreTrainedTokenizerBase, key: str, pairs: bool = False) -> None:
    """Raises RecipeError, with the recipe `key`, if it is not clear which tokens are the answer's.

    They are what the template marks (`{% generation %}`), or TRL's version of a known template;
    otherwise, and for `pairs` always, the chat must begin with the prompt of the answer.
    """
    if not tokenizer.is_fast:
        raise RecipeError(
            "`model_name_or_path`: its tokenizer does not say which part of a text is which token; "
            "save it as a fast one (tokenizer.json)"
        )
    answer = rendering.example()[1]["content"]
    opens = rendering.of(tokenizer).opened
    thought = opens + ("" if "</think>" in opens else "thatiswhy\n</think>\n")
    reasons = []
    for said in (thought + answer, answer) if opens else (answer,):
        chat = rendering.example(said)
        try:
            if pairs:
                checks.check_answer(tokenizer, chat[:1], chat[1:])
            else:
                encode(chat, tokenizer)
        except Unusable as error:
            reasons.append(error)
        else:
            return
    raise _refused(key, reasons[0])


def check_system(
    tokenizer: PreTrainedTokenizerBase, system: str | None, options: dict[str, Any] | None = None
) -> None:
    """Raises RecipeError if the template does not write the recipe's `system_prompt`.

    `options` are variables of the template (TRL's `chat_template_kwargs`).
    """
    said = [{"role": "system", "content": system}, *rendering.example()[:1]] if system else []
    if reason := said and checks.unasked(tokenizer, said, **(options or {})):
        raise RecipeError(
            f"`system_prompt`: the model's chat template does not write it: {reason}; take it out, "
            "or give SFT a `chat_template` that does"
        )


def opened(tokenizer: PreTrainedTokenizerBase, options: dict[str, Any] | None = None) -> str:
    """Returns what a prompt already says of the answer, such as `<think>` and a new line; or "".

    `options` are variables of the template (TRL's `chat_template_kwargs`). The completion lacks it,
    and whoever reads the answer needs it. Special tokens are left out, as in the completion. A
    tokenizer without a usable template opens nothing.
    """
    try:
        text = rendering.of(tokenizer, options).opened
    except Unusable:
        return ""
    for token in rendering.special_tokens(tokenizer):
        text = text.replace(token, "")
    return text


def ends(
    tokenizer: PreTrainedTokenizerBase, config: GenerationConfig, chat: bool = True
) -> list[int]:
    """Returns the ids that end an answer: the tokenizer's EOS, then those of `config`.

    In a `chat` the end of the assistant's turn is the first one, whatever these two say.
    """
    named = config.eos_token_id
    ids = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    if chat and tokenizer.chat_template:
        with contextlib.suppress(Unusable):  # then the other two are all that there is
            ids.insert(0, tokenizer.convert_tokens_to_ids(rendering.of(tokenizer).end))
    return [end for end in dict.fromkeys(ids) if end is not None]


def encode(
    messages: Messages,
    tokenizer: PreTrainedTokenizerBase,
    tools: list[Any] | None = None,
    unlearned: Collection[int] = (),
) -> tuple[list[int], list[int]]:
    """Returns the ids of a chat, and labels that are -100 for all tokens but the assistant's.

    `tools` are JSON schemas; `unlearned` are the places in `messages` of answers that are no
    labels. The end of a turn is a label where its answer is one. Raises Unusable, whose message is
    the reason, if the template cannot write the chat, leaves out a part of it, or does not say
    which tokens are the answer's.
    """
    form = rendering.of(tokenizer)
    find = spans.marked_spans if form.marked else spans.prefix_spans
    text, spoken = find(tokenizer, messages, tools, form)
    checks.check_calls(tokenizer, messages, tools)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    labels = [-100] * len(ids)
    for start, stop in _learned(messages, spoken, unlearned):
        inside = [i for i, (left, right) in enumerate(offsets) if left < stop and right > start]
        if not form.marked:
            checks.check_tokens(tokenizer, text, start)
        for place in range(inside[0], inside[-1] + 1) if inside else ():
            labels[place] = ids[place]
    return ids, labels


def _learned(
    messages: Messages, spoken: list[tuple[int, int]], unlearned: Collection[int]
) -> list[tuple[int, int]]:
    """The spans of the answers that are labels."""
    if not unlearned:
        return spoken
    answers = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"]
    if len(answers) != len(spoken):
        raise Unusable("it marks an answer in several parts, so none can be left unlearned")
    each = zip(answers, spoken, strict=True)
    return [span for place, span in each if place not in set(unlearned)]


def _refused(key: str, error: Unusable) -> RecipeError:
    way = (
        "give a file that suits the tokenizer, such as tulu.jinja, which ends with its EOS"
        if key == "chat_template"
        else "save the model with another one (SFT has the key `chat_template`)"
    )
    return RecipeError(f"`{key}`: the model's chat template cannot be used: {error}; {way}")


def special_token_in(said: Any, special: list[str]) -> bool:
    """Returns whether a text in what is `said` (turns, tools) contains one of the `special` tokens.

    The tokenizer would encode it as that token, which could end or begin a turn.
    """
    return any(token in text for text in lost.texts(said) for token in special)
