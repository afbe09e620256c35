"""What a tokenizer's chat template makes of chats, found out by rendering some."""

import functools
import itertools
import json
import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

Messages = list[dict[str, Any]]

_ASKED, _SAID = "whichoneisit", "itisthatone"  # words that no template writes by itself
THOUGHT = "<think>"
# What goes wrong in templates: their own refusals, and whatever they do to what they do not expect.
FAILURES = (
    *(TemplateError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    RecursionError,
)
_SHOWN = 120  # characters of a template's own words in a reason


class Unusable(ValueError):
    """A chat that the template cannot write as it is; the message is the reason, in a few words."""


@dataclass(frozen=True)
class Template:
    """What the chat template of a tokenizer does."""

    end: str  # the token that ends the assistant's turn
    opened: str  # what a prompt already says of the answer, such as "<think>\n"
    inserted: str  # what stands before the first turn although nobody said it
    # A template that marks what the assistant says; None: it is found by rendering prefixes.
    marked: str | None


def of(tokenizer: PreTrainedTokenizerBase, options: dict[str, Any] | None = None) -> Template:
    """Returns what the tokenizer's template does; `options` are variables of its prompts.

    Raises Unusable if the tokenizer has no template, or if a turn of the user and one of the
    assistant are not written, or if no token of its own ends the latter.
    """
    now = (str(tokenizer.chat_template), tokenizer.eos_token, len(tokenizer))
    return _found(tokenizer, json.dumps(options or {}, default=str), *now)


@functools.lru_cache(maxsize=8)
def _found(tokenizer: PreTrainedTokenizerBase, options: str, *_now: object) -> Template:
    if not tokenizer.chat_template:
        raise Unusable("there is none")
    turns = example()
    prompt = render(tokenizer, turns[:1], prompt=True, **json.loads(options))
    ended = render(tokenizer, turns)
    longer = render(tokenizer, [*turns, *turns])
    for said, words, who in ((prompt, _ASKED, "user"), (ended, _SAID, "assistant")):
        if words not in said:
            raise Unusable(f"it leaves out what the {who} says in plain text")
    first, _, rest = longer.partition(_ASKED)
    headers = [text.partition(_ASKED)[2].partition(_SAID)[0] for text in (ended, longer)]
    between = rest.partition(_SAID)[2].partition(_ASKED)[0]
    begin = first.removeprefix(tokenizer.bos_token or "")
    return Template(
        end=_end(tokenizer, ended.rpartition(_SAID)[2]),
        opened=_opened(prompt.partition(_ASKED)[2], min(headers, key=len)),
        inserted=begin[: len(begin) - len(common(begin[::-1], between[::-1]))].strip(),
        marked=_marked(tokenizer),
    )


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Returns the tokens that decoding leaves out; a text with one could end or begin a turn.

    They are those with a name (EOS, …), and those added as special ones, as Llama 3's headers.
    """
    added = tokenizer.added_tokens_decoder.values()
    named = [str(token) for token in tokenizer.all_special_tokens]
    return [*dict.fromkeys([*named, *(token.content for token in added if token.special)])]


def example(said: str = _SAID) -> Messages:
    """Returns a question and its answer."""
    return [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": said}]


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    tools: list[Any] | None = None,
    *,
    prompt: bool = False,
    **options: Any,
) -> str:
    """Returns a chat as text, with the beginning of the next answer if it is a `prompt`.

    Raises Unusable if the template refuses it, or fails.
    """
    try:
        text: str = tokenizer.apply_chat_template(
            messages,
            tools=tools,
            tokenize=False,
            add_generation_prompt=prompt,
            **options,
        )
    except FAILURES as error:
        raise refused(error) from error
    return text


def fix_date(tokenizer: PreTrainedTokenizerBase) -> str:
    """Lets templates that write today's date write one date in this process; returns it, or ""."""
    if "strftime_now" not in str(tokenizer.chat_template):
        return ""
    vars(chat_template_utils)["datetime"] = _OneDay
    return _OneDay.now().strftime("%d %b %Y")


class _OneDay(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_OneDay":
        """The day that Llama 3.2's template writes where there is no clock."""
        return cls(2024, 7, 26, tzinfo=tz)


def _end(tokenizer: PreTrainedTokenizerBase, tail: str) -> str:
    """The first token of its own in what follows an answer."""
    own = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    longest = sorted((token for token in own if token.strip()), key=len, reverse=True)
    found = re.search("|".join(map(re.escape, longest)), tail) if longest else None
    if found:
        return found[0]
    word = tail.strip()
    raise Unusable(
        f"it ends the assistant's turn with {word[:_SHOWN]}, which is no token of its own in this "
        "tokenizer, so no answer could end"
        if word
        else "nothing ends the assistant's turn"
    )


def _opened(prompt: str, header: str) -> str:
    """What a prompt has beyond the header of an answer, or from the mark of a thought on."""
    if THOUGHT in prompt:
        return prompt[prompt.index(THOUGHT) :]
    return prompt.removeprefix(header) if prompt.startswith(header) else ""


def _marked(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template itself if it marks the assistant's words, or TRL's version of it that does."""
    own: str | None = tokenizer.get_chat_template()
    if has_generation_markers(own):
        return own
    try:
        own = get_training_chat_template(tokenizer)
    except FAILURES:  # TRL knows no such version
        return None
    return own


def refused(error: Exception) -> Unusable:
    """Returns the reason that a template refuses a chat, in its own words."""
    said = " ".join(str(error).split())[:_SHOWN]
    return Unusable(f"it refuses the chat ({said})")


def common(first: str, second: str) -> str:
    """Returns the beginning that both share."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return first[: sum(1 for _ in same)]
