"""Where in a chat's text the assistant's words stand: what is learned of it."""

import re
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils
from trl.chat_template_utils import has_generation_markers

from moxin_recipes.chats.checks import check_begins, check_written
from moxin_recipes.chats.rendering import (
    FAILURES,
    Messages,
    Template,
    Unusable,
    common,
    refused,
    render,
)


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
    except FAILURES as error:
        raise refused(error) from error
    check_written(tokenizer, messages, tools, text)
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
    check_written(tokenizer, messages, tools, text)
    spans = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if not place:
            raise Unusable("the assistant speaks first, and it does not mark what is said")
        prompt = render(tokenizer, messages[:place], tools, prompt=True)
        said = render(tokenizer, messages[: place + 1], tools)
        check_begins(text, prompt, form)
        end = common(said, text).rfind(form.end, len(prompt))
        if end < 0:
            raise Unusable("it writes an answer in another way once others follow")
        spans.append((len(prompt), end + len(form.end)))
    return text, spans
