"""Templates and tokenizers as they come: what ends a turn, what is learned, or why not."""

import logging
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import trl.chat_template_utils as known
from tests.chats import templates
from tests.tiny import turns
from transformers import GenerationConfig, PreTrainedTokenizerBase

from moxin_recipes.chats import checks, rendering, template
from moxin_recipes.chats.rendering import Unusable
from moxin_recipes.recipe.strict import RecipeError

S, IM, BARE = "</s>", "<|im_end|>", "bare"
CHAT = turns("how?", "so many", "and?", "thus")
NO_TOKEN = (
    "`chat_template`: the model's chat template cannot be used: it ends the assistant's turn with "
    "{}, which is no token of its own in this tokenizer, so no answer could end; give a file that "
    "suits the tokenizer, such as tulu.jinja, which ends with its EOS"
)


def learned(tokenizer: PreTrainedTokenizerBase, messages: list, **more: object) -> str:
    """The text of the labels; all of it is in the ids at the same places."""
    ids, labels = template.encode(messages, tokenizer, **more)
    assert len(ids) == len(labels)
    assert all(label in (-100, one) for one, label in zip(ids, labels, strict=True))
    said: str = tokenizer.decode([label for label in labels if label != -100])
    return said


# Template and tokenizer → what ends a turn, what is learned of CHAT.
WORKS = [
    (templates.CHATML, S, IM, "so many<|im_end|>thus<|im_end|>"),
    (templates.CHATML, IM, IM, "so many<|im_end|>thus<|im_end|>"),
    (templates.MARKED, S, IM, "so many<|im_end|>thus<|im_end|>"),
    (templates.MARKED, IM, IM, "so many<|im_end|>thus<|im_end|>"),
    (templates.QWEN, S, IM, "so many<|im_end|>thus<|im_end|>"),
    (templates.LLAMA3, S, "<|eot_id|>", "so many<|eot_id|>thus<|eot_id|>"),
    (templates.LLAMA3, IM, "<|eot_id|>", "so many<|eot_id|>thus<|eot_id|>"),
    (templates.DATED, S, "<|eot_id|>", "so many<|eot_id|>thus<|eot_id|>"),
    (templates.ZEPHYR, S, S, "so many</s>thus</s>"),
    (templates.ZEPHYR, IM, IM, "so many<|im_end|>thus<|im_end|>"),
    (templates.ZEPHYR, BARE, S, "so many</s>thus</s>"),
    (templates.MISTRAL, S, S, " so many</s> thus</s>"),
    (templates.MISTRAL, BARE, S, " so many</s> thus</s>"),
    (templates.GEMMA, S, "<end_of_turn>", "so many<end_of_turn>thus<end_of_turn>"),
    (templates.GEMMA, IM, "<end_of_turn>", "so many<end_of_turn>thus<end_of_turn>"),
    (templates.VICUNA, S, S, " so many</s> thus</s>"),
    (templates.VICUNA, BARE, S, " so many</s> thus</s>"),
    (templates.PHI, S, "<|end|>", "so many<|end|>thus<|end|>"),
    (templates.LLAMA2, S, S, " so many</s> thus</s>"),
    (templates.ALWAYS, S, IM, "so many<|im_end|>thus<|im_end|>"),
    (templates.FORGETS, S, IM, "so many<|im_end|>thus<|im_end|>"),
]


@pytest.mark.parametrize(("jinja", "kind", "end", "said"), WORKS)
def test_the_answers_and_their_ends_are_learned(jinja: str, kind: str, end: str, said: str) -> None:
    tokenizer = templates.tokenizer(kind, jinja)
    template.prepare_tokenizer(tokenizer, None, None)
    assert rendering.of(tokenizer).end == end
    assert learned(tokenizer, CHAT) == said
    ids, _ = template.encode(CHAT, tokenizer)
    assert ids == tokenizer.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    begins = 2 if jinja == templates.LLAMA2 else "bos_token" in jinja  # it writes one a question
    assert ids.count(tokenizer.bos_token_id) == begins
    second = said[said.index(end) + len(end) :]
    assert learned(tokenizer, CHAT, unlearned=(1,)) == second
    assert learned(tokenizer, CHAT, unlearned=[1, 3]) == ""
    # Generation stops there, and what another process reads agrees as far as the template lets it.
    ends = template.ends(tokenizer, GenerationConfig(eos_token_id=7))
    assert ends[0] == tokenizer.convert_tokens_to_ids(end)
    assert 7 in ends
    assert tokenizer.eos_token == (S if jinja == templates.PHI else end)
    prompt = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    assert template.encode(CHAT[:2], tokenizer)[0][: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("jinja", "kind", "line"),
    [
        (templates.CHATML, BARE, NO_TOKEN.format("<|im_end|>")),
        (templates.MARKED, BARE, NO_TOKEN.format("<|im_end|>")),
        (templates.OPENS, BARE, NO_TOKEN.format("<|im_end|>")),
        (templates.LLAMA3, BARE, NO_TOKEN.format("<|eot_id|>")),
        (templates.GEMMA, BARE, NO_TOKEN.format("<end_of_turn>")),
        (templates.ENDLESS, S, "nothing ends the assistant's turn; give a file that"),
        (templates.HUMANS, S, "it leaves out what the user says in plain text; give"),
        (
            templates.SHAREGPT,
            S,
            "it refuses the chat ('dict object' has no attribute 'value'); giv",
        ),
        (templates.PARTS, S, "it refuses the chat ('str object' has no attribute 'text'); give"),
        (templates.BROKEN, S, "it refuses the chat (Unexpected end of template."),
        (templates.OTHER, S, "its prompt is not how the answer begins in the chat; give a file"),
        (templates.DROPS, S, "it leaves out a part of what the assistant says; give a file"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(jinja: str, kind: str, line: str) -> None:
    with pytest.raises(RecipeError) as refused:
        template.prepare_tokenizer(templates.tokenizer(kind, jinja), None, None)
    assert line in str(refused.value)
    assert str(refused.value).startswith("`chat_template`: the model's chat template cannot be")
    assert "\n" not in str(refused.value)


def test_without_any_template_the_line_says_what_to_do() -> None:
    with pytest.raises(RecipeError, match=r"^`chat_template`: the model has none; give a file"):
        template.prepare_tokenizer(templates.tokenizer(S), None, None)
    with pytest.raises(
        RecipeError, match=r"cannot be used: there is none; save the model with another one \(SFT"
    ):
        template.settle(templates.tokenizer(S), "model_name_or_path")
    endless = templates.tokenizer(S, templates.ENDLESS)
    with pytest.raises(RecipeError, match=r"^`model_name_or_path`: .*nothing ends the assistant's"):
        template.settle(endless, "model_name_or_path")


@pytest.mark.parametrize(
    ("jinja", "chat", "reason"),
    [
        (templates.OPENS, CHAT, "the prompt opens <think>, and an answer does not begin with it"),
        (
            templates.FORGETS,
            turns("how?", "<think>\nwell\n</think>so", "and?", "thus"),
            "it leaves out a part of what the assistant says",
        ),
        (
            templates.GEMMA,
            [{"role": "system", "content": "Be."}, *CHAT],
            "it refuses the chat (System role not supported)",
        ),
        (
            templates.MISTRAL,
            [CHAT[0], *CHAT],
            "it refuses the chat (Roles must alternate user/assistant!)",
        ),
        (
            templates.ZEPHYR,
            [*CHAT, {"role": "tool", "content": "12"}, *CHAT],
            "it leaves out a part of what the tool says",
        ),
        (templates.LAST, CHAT, "it writes an answer in another way once others follow"),
        (templates.APART, CHAT, "the prompt opens Think., and an answer does not begin with it"),
        (templates.SPACED, CHAT, "the last token of a prompt runs into the answer"),
        (
            templates.CHATML,
            CHAT[1:],
            "the assistant speaks first, and it does not mark what is said",
        ),
        (
            templates.CHATML,
            [CHAT[0], {**CHAT[1], "tool_calls": [{"function": {"name": "add"}}]}],
            "it leaves out calls of tools",
        ),
    ],
)
def test_a_row_that_a_template_cannot_write_has_its_reason(
    jinja: str, chat: list, reason: str
) -> None:
    tokenizer = templates.tokenizer(S, jinja)
    with pytest.raises(Unusable) as refused:
        template.encode(chat, tokenizer)
    assert str(refused.value) == reason


def test_a_pair_must_go_on_from_its_prompt() -> None:
    tokenizer = templates.tokenizer(S, templates.SPACED)
    with pytest.raises(Unusable, match="the last token of a prompt runs into the answer"):
        checks.check_answer(tokenizer, CHAT[:1], turns("", "many")[1:])
    tokenizer.chat_template = templates.OPENS
    with pytest.raises(Unusable, match="the prompt opens <think>, and an answer does not begin"):
        checks.check_answer(tokenizer, CHAT[:1], CHAT[1:2])
    checks.check_answer(tokenizer, CHAT[:1], turns("", "<think>\nwell\n</think>so")[1:])
    with pytest.raises(RecipeError, match=r"^`model_name_or_path`: .*it leaves out a part of what"):
        template.check_learnable(
            templates.tokenizer(S, templates.DROPS), "model_name_or_path", pairs=True
        )


def test_tools_that_a_template_does_not_write_are_not_dropped_in_silence() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    with pytest.raises(Unusable, match="it leaves out the tools"):
        template.encode(CHAT, templates.tokenizer(S, templates.CHATML), [tool])
    writes = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}" + templates.CHATML
    tokenizer = templates.tokenizer(S, writes)
    assert learned(tokenizer, CHAT, tools=[tool]) == "so many<|im_end|>thus<|im_end|>"


def test_white_space_that_a_template_changes_is_no_part_of_what_is_said() -> None:
    tokenizer = templates.tokenizer(S, templates.LLAMA3)
    chat = turns(" how?\n", "\n so\n\nmany \n")
    assert learned(tokenizer, chat) == "so\n\nmany<|eot_id|>"


def test_without_its_marks_a_template_teaches_the_same() -> None:
    chats = [CHAT, turns("how?", " so\n\n"), turns("<think>", "<think>\n12\n</think>so", "", "13")]
    marked, plain = (templates.tokenizer(S) for _ in range(2))
    template.prepare_tokenizer(marked, "tulu.jinja", None)
    plain.chat_template = re.sub(r"{%-? *(end)?generation *-?%}", "", str(marked.chat_template))
    template.prepare_tokenizer(plain, None, None)
    assert (rendering.of(marked).marked is None, rendering.of(plain).marked is None) == (0, 1)
    for chat in chats:
        assert template.encode(chat, plain) == template.encode(chat, marked)


@pytest.mark.parametrize(
    ("jinja", "opened", "answer"),
    [
        (templates.CHATML, "", "so many"),
        (templates.VICUNA, "", "so many"),
        (templates.OPENS, "<think>\n", "<think>\nwell\n</think>\nso many"),
        (templates.SILENT, "<think>\n\n</think>\n\n", "<think>\n\n</think>\n\nso many"),
        (templates.DROPS, "<think>\n", ""),
    ],
)
def test_what_a_prompt_opens(jinja: str, opened: str, answer: str) -> None:
    tokenizer = templates.tokenizer(S, jinja)
    assert template.opened(tokenizer) == opened
    if answer:
        template.prepare_tokenizer(tokenizer, None, None)
        said = learned(tokenizer, turns("how?", answer))
        end = "</s>" if jinja == templates.VICUNA else "<|im_end|>"
        assert opened + said.strip() == answer + end


def test_special_tokens_in_what_a_prompt_opens_are_no_text() -> None:
    jinja = templates.OPENS.replace("<think>", "<think><|user|>")
    assert template.opened(templates.tokenizer(S, jinja)) == "<think>\n"


def test_variables_of_a_prompt_count(monkeypatch: pytest.MonkeyPatch) -> None:
    jinja = templates.CHATML.replace(
        "assistant\\n' }}", "assistant\\n' + ('<think>\\n' if deep else '') }}"
    )
    tokenizer = templates.tokenizer(S, jinja)
    assert template.opened(tokenizer) == ""
    assert template.opened(tokenizer, {"deep": True}) == "<think>\n"
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(RecipeError, match=r"save it as a fast one \(tokenizer.json\)"):
        template.prepare_tokenizer(tokenizer, None, None)


def test_a_tokenizer_with_one_more_template_for_tools() -> None:
    both: Any = {
        "default": templates.CHATML,
        "tool_use": "{% for t in tools %}{{ t | tojson }}{% endfor %}" + templates.CHATML,
    }
    tokenizer = templates.tokenizer(S)
    tokenizer.chat_template = both
    template.prepare_tokenizer(tokenizer, None, None)
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    assert learned(tokenizer, CHAT, tools=[tool]) == "so many<|im_end|>thus<|im_end|>"
    assert '"name": "add"' in tokenizer.decode(template.encode(CHAT, tokenizer, [tool])[0])
    assert learned(tokenizer, CHAT) == "so many<|im_end|>thus<|im_end|>"


def test_a_tokenizer_without_eos_gets_the_end_of_a_turn() -> None:
    tokenizer = templates.tokenizer(S, templates.CHATML)
    tokenizer.eos_token = None
    template.prepare_tokenizer(tokenizer, None, None)
    assert tokenizer.eos_token == IM
    tokenizer = templates.tokenizer(S, templates.ZEPHYR)
    tokenizer.eos_token = None
    with pytest.raises(RecipeError, match="the tokenizer has no EOS, with which an answer ends"):
        template.prepare_tokenizer(tokenizer, None, None)


def test_padding_with_the_old_eos_is_no_padding_with_the_end() -> None:
    """As in Qwen's base models, which pad with their only mark."""
    tokenizer = templates.tokenizer(S, templates.CHATML)
    tokenizer.bos_token, tokenizer.pad_token = None, S
    template.prepare_tokenizer(tokenizer, None, None)
    assert (tokenizer.eos_token, tokenizer.pad_token) == (IM, S)
    tokenizer.pad_token = IM
    with pytest.raises(RecipeError, match=r"^`pad_token`: the tokenizer has none of its own"):
        template.prepare_tokenizer(tokenizer, None, None)


def test_the_end_that_became_eos_is_no_text(tmp_path: Path) -> None:
    tokenizer = templates.tokenizer(BARE, templates.CHATML)
    tokenizer.add_tokens([IM])  # an ordinary one
    template.prepare_tokenizer(tokenizer, None, None)
    ids = tokenizer("so<|im_end|>", add_special_tokens=False)["input_ids"]
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, type(tokenizer).from_pretrained(tmp_path)):
        assert one.eos_token == IM
        assert one.decode(ids, skip_special_tokens=True) == "so"


def test_todays_date_is_one_date_and_what_is_inserted_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", datetime)
    tokenizer = templates.tokenizer(S, templates.DATED)
    with caplog.at_level(logging.INFO):
        template.prepare_tokenizer(tokenizer, None, None)
    assert "Today: 26 Jul 2024" in tokenizer.decode(template.encode(CHAT, tokenizer)[0])
    assert "writes today's date; here it is always 26 Jul 2024" in caplog.text
    with caplog.at_level(logging.INFO):
        template.prepare_tokenizer(templates.tokenizer(S, templates.QWEN), None, None)
        template.prepare_tokenizer(templates.tokenizer(S, templates.OPENS), None, None)
    assert "begins chats without a system turn with '<|im_start|>system\\nYou help.'" in caplog.text
    assert "ends turns with <|im_end|>, not with </s>: so do answers" in caplog.text
    assert "prompts open the answer with '<think>\\n'; scores read it, too" in caplog.text


# Real templates that TRL carries → what ends a turn, what a prompt opens.
REAL = {
    "qwen2_5": ("<|im_end|>", ""),
    "qwen3": ("<|im_end|>", ""),
    "qwen3_5_think": ("<|im_end|>", "<think>\n"),
    "qwen3_5_nothink": ("<|im_end|>", "<think>\n\n</think>\n\n"),
    "llama3": ("<|eot_id|>", ""),
    "llama3_2": ("<|eot_id|>", ""),
    "gemma3": ("<end_of_turn>", ""),
    "phi3": ("<|end|>", ""),
    "deepseek_r1_distill": ("<｜end▁of▁sentence｜>", "<think>\n"),
    "gptoss": ("<|return|>", ""),
}


@pytest.mark.parametrize("name", REAL)
def test_real_templates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", datetime)
    end, opened = REAL[name]
    folder = Path(str(known.__file__)).parent / "chat_templates"
    tokenizer = templates.tokenizer(S, (folder / f"{name}.jinja").read_text(encoding="utf-8"))
    tokenizer.add_tokens([end])
    template.prepare_tokenizer(tokenizer, None, None)
    assert template.opened(tokenizer) == opened
    said = learned(tokenizer, turns("how?", f"{opened}so many" if opened else "so many"))
    assert f"so many{end}" in said
    assert "how?" not in said


HEARD = templates.CHATML.replace("{% for m in messages %}", "{% for m in messages if ROLES %}")
BUT_TOOLS, BUT_SYSTEM = (
    HEARD.replace("ROLES", f"m.role != '{role}'") for role in ("tool", "system")
)
LATE = templates.CHATML.replace(  # the system turn stands behind the first question
    "messages %}",
    "(messages[1:2] + messages[:1] + messages[2:] if messages[0].role == 'system' else messages)"
    " %}",
)


@pytest.mark.parametrize(
    ("jinja", "messages", "who"),
    [
        # What is dropped stands elsewhere: in an answer, in a question, in a header, in a tool.
        (BUT_TOOLS, [*CHAT, {"role": "tool", "content": "12"}, *turns("and?", "12 of 13")], "tool"),
        (BUT_TOOLS, [*CHAT, *turns("and?", "12"), {"role": "tool", "content": "12"}], "tool"),
        (BUT_TOOLS, [CHAT[0], {"role": "tool", "content": "user"}, CHAT[1]], "tool"),
        (
            BUT_SYSTEM,
            [{"role": "system", "content": "French"}, *turns("yes in French?", "oui")],
            "system",
        ),
        (BUT_SYSTEM, [{"role": "system", "content": "im_start"}, *CHAT], "system"),
        (BUT_SYSTEM, [{"role": "system", "content": "so"}, *CHAT, *CHAT], "system"),
        # A thought beside the answer, whose words the answer repeats.
        (
            templates.CHATML,
            [CHAT[0], {**CHAT[1], "reasoning_content": "many"}],
            "assistant",
        ),
        (templates.CHATML, [CHAT[0], {**CHAT[1], "thinking": "so"}], "assistant"),
    ],
)
def test_what_a_template_drops_is_missed_though_its_words_stand_elsewhere(
    jinja: str, messages: list, who: str
) -> None:
    tokenizer = templates.tokenizer(S, jinja)
    with pytest.raises(Unusable) as refused:
        template.encode(messages, tokenizer)
    assert str(refused.value) == f"it leaves out a part of what the {who} says"


def test_words_in_another_order_are_not_left_out() -> None:
    said = [{"role": "system", "content": "so"}, *turns(" so?\n", "so many")]
    assert learned(templates.tokenizer(S, LATE), said) == "so many<|im_end|>"
    for jinja in (templates.LLAMA3, templates.ZEPHYR):
        assert learned(templates.tokenizer(S, jinja), said).startswith("so many<")


def test_tools_are_missed_though_their_names_stand_elsewhere() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("so", "many")]
    first = "{{ tools[0] | tojson if tools }}" + templates.CHATML
    for jinja in (templates.CHATML, first):
        with pytest.raises(Unusable, match=r"^it leaves out the tools$"):
            template.encode(CHAT, templates.tokenizer(S, jinja), tools)


THOUGHTFUL = turns("how?", "<think>\nwell\n</think>so", "and?")
SYSTEM = [{"role": "system", "content": "how"}]


@pytest.mark.parametrize(
    ("jinja", "prompt", "reason"),
    [
        (templates.CHATML, [*SYSTEM, *THOUGHTFUL], ""),
        (templates.OPENS, CHAT[:1], ""),
        # Earlier thoughts are dropped when it is asked, too.
        (templates.FORGETS, [*SYSTEM, *THOUGHTFUL], ""),
        (BUT_SYSTEM, [*SYSTEM, *THOUGHTFUL], "it leaves out a part of what the system says"),
        (
            BUT_TOOLS,
            [*CHAT, {"role": "tool", "content": "so"}],
            "it leaves out a part of what the ",
        ),
        (templates.GEMMA, [*SYSTEM, *CHAT[:1]], "it refuses the chat (System role not supported)"),
        (
            "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(messages) }}",
            CHAT[:1],
            "it refuses the chat (maximum recursion depth exceeded",
        ),
        ("{{ 1 // (messages | length - 1) }}", CHAT[:1], "it refuses the chat (integer division"),
    ],
)
def test_a_prompt_is_written_with_all_it_says(jinja: str, prompt: list, reason: str) -> None:
    tokenizer = templates.tokenizer(S, jinja)
    found = checks.unasked(tokenizer, prompt)
    assert found.startswith(reason) if reason else found == ""
    if prompt[-1]["role"] == "user" and jinja not in (templates.OPENS, templates.GEMMA):
        answer = turns("", "12")[1:]
        if reason:
            with pytest.raises(Unusable, match=re.escape(reason)):
                checks.check_answer(tokenizer, prompt, answer)
        else:
            checks.check_answer(tokenizer, prompt, answer)


@pytest.mark.parametrize("jinja", [templates.MARKED, templates.CHATML])
def test_a_template_that_never_ends_refuses_a_chat(jinja: str) -> None:
    """Whether answers are found by marks or by prompts."""
    endless = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{% if messages | length > 4 %}{{ f(1) }}"
    tokenizer = templates.tokenizer(S, jinja + endless + "{% endif %}")
    with pytest.raises(Unusable, match=r"^it refuses the chat \(maximum recursion depth"):
        template.encode([*CHAT, *CHAT], tokenizer)


@pytest.mark.parametrize(
    ("jinja", "line"),
    [
        (BUT_SYSTEM, "it leaves out a part of what the system says"),
        (templates.GEMMA, "it refuses the chat (System role not supported)"),
        (templates.CHATML, ""),
    ],
)
def test_a_system_prompt_of_the_recipe_that_no_template_writes_is_one_line(
    jinja: str, line: str
) -> None:
    tokenizer = templates.tokenizer(S, jinja)
    template.check_system(tokenizer, None)
    if not line:
        template.check_system(tokenizer, "Be.")
        return
    with pytest.raises(RecipeError) as refused:
        template.check_system(tokenizer, "Be.")
    assert str(refused.value) == (
        f"`system_prompt`: the model's chat template does not write it: {line}; take it out, or "
        "give SFT a `chat_template` that does"
    )
