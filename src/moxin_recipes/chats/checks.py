"""Whether a chat template writes all that is said, and answers where their prompts end."""

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from moxin_recipes.chats.rendering import Messages, Template, Unusable, of, render

_MARK, _TOOL = "andthis{}aswell", "andthattoo"  # words that no text has


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
    check_written(tokenizer, [*prompt, *answer], tools, text, len(prompt))
    check_calls(tokenizer, [*prompt, *answer], tools)
    check_begins(text, asked, of(tokenizer))
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


def check_begins(text: str, prompt: str, form: Template) -> None:
    """Raises Unusable unless a chat's text begins with that of a prompt."""
    if text.startswith(prompt):
        return
    opens = form.opened.strip()
    raise Unusable(
        f"the prompt opens {opens}, and an answer does not begin with it"
        if opens and text.startswith(prompt.removesuffix(form.opened))
        else "its prompt is not how the answer begins in the chat"
    )


def check_written(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    tools: list[Any] | None,
    text: str,
    asked: int = 0,
    **options: Any,
) -> None:
    """Raises Unusable if something that was said or offered is not in a chat's `text`.

    White space does not count: templates strip it, and set thoughts apart. The same words may stand
    elsewhere, so the chat is rendered once more, with a mark in each text and tool. Of the first
    `asked` turns, which are a prompt, the assistant's may lose their thoughts, as when it is asked.
    `options` are those of `render`.
    """
    spoken = [
        (place, key)
        for place, message in enumerate(messages)
        for key in ("content", "reasoning_content", "thinking")
        if isinstance(message.get(key), str) and message[key].strip()
    ]
    asked_again = {(place, key) for place, key in spoken if place < asked}
    asked_again = {one for one in asked_again if messages[one[0]]["role"] == "assistant"}
    written = _squeezed(text)
    for place, key in spoken:
        if (place, key) not in asked_again and not _holds(written, messages[place][key]):
            raise _left_out(messages[place])
    marked = [{**message} for message in messages]
    for number, (place, key) in enumerate(spoken):
        marked[place][key] += _MARK.format(number)
    try:
        text = render(tokenizer, marked, [*map(_marked, tools)] if tools else tools, **options)
    except Unusable:  # it reads what stands there
        return
    for number, (place, key) in enumerate(spoken):
        thought = (place, key) in asked_again and key != "content"
        if _MARK.format(number) not in text and not thought:
            raise _left_out(messages[place])
    if tools and text.count(_TOOL) < len(tools):
        raise Unusable("it leaves out the tools")


def unasked(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Messages,
    tools: list[Any] | None = None,
    **options: Any,
) -> str:
    """Returns why the template cannot write a prompt with all that it says, or "".

    `options` are variables of the template (TRL's `chat_template_kwargs`).
    """
    try:
        text = render(tokenizer, prompt, tools, prompt=True, **options)
        check_written(tokenizer, prompt, tools, text, len(prompt), prompt=True, **options)
        check_calls(tokenizer, prompt, tools)
    except Unusable as error:
        return str(error)
    return ""


def _holds(written: str, said: str) -> bool:
    return _squeezed(said) in written or _squeezed(json.dumps(said)[1:-1]) in written


def _left_out(message: dict[str, Any]) -> Unusable:
    return Unusable(f"it leaves out a part of what the {message['role']} says")


def _marked(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool with another name."""
    function = tool.get("function", tool)
    renamed = {**function, "name": f"{function.get('name')}{_TOOL}"}
    return {**tool, "function": renamed} if "function" in tool else renamed


def _squeezed(text: str) -> str:
    return "".join(text.split())
