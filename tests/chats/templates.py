"""Chat templates as models on the Hub have them, in few words, and tokenizers for them."""

from tests.tiny import tiny_tokenizer
from transformers import AddedToken, PreTrainedTokenizerBase

_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}BODY{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\nOPENED' }}{% endif %}"
)
_PLAIN = "{{ m.content + '<|im_end|>' }}"
CHATML = _CHATML.replace("OPENED", "").replace("BODY", _PLAIN)
# It marks what is said, and not the end of it.
MARKED = CHATML.replace(
    _PLAIN,
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}"
    "{{ m.content }}{% endif %}{{ '<|im_end|>' }}",
)
QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}"
    "{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}"
)
DATED = LLAMA3.replace(
    "{{ bos_token }}",
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + "
    "strftime_now('%d %b %Y') + '<|eot_id|>' }}",
)
ZEPHYR = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\\n' + m.content + eos_token }}"
    "{% elif m.role == 'system' %}{{ '<|system|>\\n' + m.content + eos_token }}"
    "{% elif m.role == 'assistant' %}{{ '<|assistant|>\\n' + m.content + eos_token }}{% endif %}"
    "{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
MISTRAL = (  # no prompt of its own
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant!') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}"
    "{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{{ '<start_of_turn>' + "
    "('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + "
    "'<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
VICUNA = (
    "{{ 'A chat with an assistant. ' }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ 'USER: ' + m.content + ' ' }}{% else %}{{ 'ASSISTANT: ' + m.content + eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
SPACED = VICUNA.replace("'ASSISTANT:' }}", "'ASSISTANT: ' }}")  # its prompt ends with a space
OTHER = VICUNA.replace("'ASSISTANT:' }}", "'ASSISTANT:\\n' }}")  # answers begin otherwise
PHI = (  # writes the EOS, too, at the end of all
    "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
    "{{ '<|assistant|>\\n' if add_generation_prompt else eos_token }}"
)
OPENS = _CHATML.replace("OPENED", "<think>\\n").replace("BODY", _PLAIN)
SILENT = _CHATML.replace("OPENED", "<think>\\n\\n</think>\\n\\n").replace("BODY", _PLAIN)
# It drops the thoughts of answers that others follow, or of all.
FORGETS = CHATML.replace(
    _PLAIN,
    "{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}"
    "{{ '<|im_end|>' }}",
)
DROPS = OPENS.replace("{{ m.content +", "{{ m.content.split('</think>')[-1] +")
# It ends the last answer in another way than those before, as gpt-oss does, or begins it so.
LAST = CHATML.replace(
    _PLAIN, "{{ m.content + ('<|im_end|>' if loop.last or m.role == 'user' else '<|end|>') }}"
)
APART = CHATML.replace(
    "{{ '<|im_start|>assistant\\n' }}", "{{ '<|im_start|>assistant\\nThink.\\n' }}"
)
LLAMA2 = MISTRAL.replace("{{ bos_token }}", "").replace("'[INST] '", "bos_token + '[INST] '")
ALWAYS = CHATML.replace("{% if add_generation_prompt %}", "{% if true %}")  # whoever asks
ENDLESS = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
SHAREGPT = CHATML.replace(_PLAIN, "{{ m.value + '<|im_end|>' }}")
HUMANS = "{% for m in messages if m.role in ('human', 'gpt') %}{{ m.content + '</s>' }}{% endfor %}"
PARTS = CHATML.replace(_PLAIN, "{{ m.content[0].text + '<|im_end|>' }}")
BROKEN = "{% for m in messages %}{{ m.content }}"

_TOKENS = (
    "<|im_start|> <|im_end|> <|start_header_id|> <|end_header_id|> <|eot_id|> <start_of_turn> "
    "<end_of_turn> [INST] [/INST] <|user|> <|assistant|> <|end|>"
)


def tokenizer(kind: str, template: str | None = None) -> PreTrainedTokenizerBase:
    """A tiny tokenizer with this template.

    `</s>` and `<|im_end|>` are the EOS of one that has the tokens of all templates; `bare` has none
    of them, and `</s>`.
    """
    made = tiny_tokenizer("USER: how many? ASSISTANT: so many<think>\n</think>\n12")
    if kind != "bare":
        made.add_tokens([AddedToken(token, special=True) for token in _TOKENS.split()])
        made.eos_token = kind
    made.chat_template = template
    return made
