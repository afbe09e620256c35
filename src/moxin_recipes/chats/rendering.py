"""What a tokenizer's chat template makes of chats, found out by rendering some."""

import functools
import itertools
import json
import re
from collections.abc import Iterator
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
        inserted=begin[: len(begin) - len(_common(begin[::-1], between[::-1]))].strip(),
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
    except (TemplateError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise _refused(error) from error
    return text


def marked_spans(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, tools: list[Any] | None, form: Template
) -> tuple[str, list[tuple[int, int]]]:
    """Returns a chat as text, and where in it (characters) the assistant's words are marked.

    A token that ends a turn right after them belongs to them: or no answer would ever end. Raises
    Unusable if the template refuses the chat, or leaves out a part of it.
    """
    said = [{key: item for key, item in turn.items() if item is not None} for turn in messages]
    own = tokenizer.get_chat_template(tools=tools)  # some tokenizers have one more for tools
    try:
        (text,), (spans,) = chat_template_utils.render_jinja_template(
            [said],
            tools=tools,
            chat_template=own if has_generation_markers(own) else form.marked,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
    except (TemplateError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise _refused(error) from error
    _check_whole(messages, tools, text)
    follows = re.compile(rf"\s*{re.escape(form.end)}")
    with_ends = []
    for start, stop in spans:
        end = None if text[start:stop].rstrip().endswith(form.end) else follows.match(text, stop)
        with_ends.append((start, end.end() if end else stop))
    return text, with_ends


def prefix_spans(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, tools: list[Any] | None, form: Template
) -> tuple[str, list[tuple[int, int]]]:
    """Returns the same of a template without marks: an answer follows its prompt, up to its end.

    Raises Unusable also if the chat does not begin with the prompt of each answer.
    """
    text = render(tokenizer, messages, tools)
    _check_whole(messages, tools, text)
    spans = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if not place:
            raise Unusable("the assistant speaks first, and it does not mark what is said")
        prompt = render(tokenizer, messages[:place], tools, prompt=True)
        said = render(tokenizer, messages[: place + 1], tools)
        _check_begins(text, prompt, form)
        end = _common(said, text).rfind(form.end, len(prompt))
        if end < 0:
            raise Unusable("it writes an answer in another way once others follow")
        spans.append((len(prompt), end + len(form.end)))
    return text, spans


def check_answer(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Messages,
    answer: Messages,
    tools: list[Any] | None = None,
) -> None:
    """Raises Unusable unless a chat is what its prompt is and, after it, the whole answer.

    So what is learned of the answer is what it says after that prompt, as text and as tokens.
    """
    asked = render(tokenizer, prompt, tools, prompt=True)
    text = render(tokenizer, [*prompt, *answer], tools)
    _check_whole(answer, None, text)
    check_calls(tokenizer, [*prompt, *answer], tools)
    _check_begins(text, asked, of(tokenizer))
    check_tokens(tokenizer, text, len(asked))


def check_calls(tokenizer: PreTrainedTokenizerBase, messages: Messages, tools: Any) -> None:
    """Raises Unusable if a chat with calls of tools is written as it is without them."""
    silent = [{key: turn[key] for key in turn if key != "tool_calls"} for turn in messages]
    if silent == messages:
        return
    written = render(tokenizer, messages, tools)
    try:
        said = render(tokenizer, silent, tools)
    except Unusable:  # it needs them
        return
    if said == written:
        raise Unusable("it leaves out calls of tools")


def check_tokens(tokenizer: PreTrainedTokenizerBase, text: str, stop: int) -> None:
    """Raises Unusable unless the tokens of a text begin with those of its first `stop` signs."""
    whole, begin = tokenizer([text, text[:stop]], add_special_tokens=False)["input_ids"]
    if whole[: len(begin)] != begin:
        raise Unusable("the last token of a prompt runs into the answer")


def _check_begins(text: str, prompt: str, form: Template) -> None:
    if text.startswith(prompt):
        return
    opens = form.opened.strip()
    raise Unusable(
        f"the prompt opens {opens}, and an answer does not begin with it"
        if opens and text.startswith(prompt.removesuffix(form.opened))
        else "its prompt is not how the answer begins in the chat"
    )


def _check_whole(messages: Messages, tools: list[Any] | None, text: str) -> None:
    """Raises Unusable if something that was said or offered is not in a chat's text.

    White space does not count: templates strip it, and set thoughts apart.
    """
    written = _squeezed(text)
    for message in messages:
        for said in _words(message):
            if _squeezed(said) not in written and _squeezed(json.dumps(said)[1:-1]) not in written:
                raise Unusable(f"it leaves out a part of what the {message['role']} says")
    for tool in tools or []:
        if str(tool.get("function", tool).get("name")) not in text:
            raise Unusable("it leaves out the tools")


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


def _words(message: dict[str, Any]) -> Iterator[str]:
    """What a message says; thoughts that stand beside it count, too."""
    for key in ("content", "reasoning_content", "thinking"):
        if isinstance(message.get(key), str):
            yield message[key]


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
    except (ValueError, TypeError, KeyError, TemplateError):  # TRL knows no such version
        return None
    return own


def _refused(error: Exception) -> Unusable:
    said = " ".join(str(error).split())[:_SHOWN]
    return Unusable(f"it refuses the chat ({said})")


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _common(first: str, second: str) -> str:
    """The beginning that both share."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return first[: sum(1 for _ in same)]
