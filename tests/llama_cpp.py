"""llama.cpp itself as a referee: its server in a process of its own, asked over 127.0.0.1.

`python tests/llama_cpp.py FILE.gguf [exact]` serves until its standard input ends.
"""

import json
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LETTERS = (
    *("abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "0123456789", "    \t\n\r"),
    *("!?.,;:'\"()[]{}<>=+-*/\\|_~`@#$%^&", "éüßñçøåœæ", "数学日本語한국어", "العربية हिन्दी ไทย"),
    *("🙂👩\u200d👧🇩🇪", "½²³ⅷ٣०①", "\x00\x1b\u200b\u2028\u00a0\u3000\x85", "▁Ġ"),
)
_WORDS = (
    *("the", "don't", "it's", "We'LL", " def f(x):\n    return x[0]\n", "  ", "12345", "3.14"),
    *(
        " 007",
        "\n\n",
        "\r\n",
        "<s>",
        "</s>",
        "<|im_start|>",
        "<|im_end|>",
        "hello",
        "naïve",
        "Größe",
    ),
    *(
        "for (int i = 0; i < 10; ++i)",
        "\t\t",
        "1 2  3   4",
        "a  1",
        "$5",
        "#1",
        "@me",
        "___",
        "...",
    ),
    *("http://a.b/c?d=1&e=2", "        x", " ", "<0x0A>"),
)


def texts(count: int, seed: int = 1) -> Iterator[str]:
    """Letters of all kinds, words and code with marks in them, digits and spaces, all of Unicode.

    (Of the planes that Unicode has assigned: 0 to 2.)
    """
    draw = random.Random(seed)
    for number in range(count):
        match number % 5:
            case 0:
                yield "".join(
                    draw.choice(draw.choice(_LETTERS)) for _ in range(draw.randint(1, 60))
                )
            case 1 | 2:
                parts = draw.choices(_WORDS, k=draw.randint(1, 12))
                yield ("" if number % 5 == 1 else " ").join(parts)
            case 3:
                yield "".join(draw.choices(["0", "1", "9", " ", " " * 5, "\n", "a", "."], k=30))
            case _:
                points = (draw.randrange(1, 0x30000) for _ in range(20))
                yield "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)


@dataclass(frozen=True)
class Referee:
    """A running server."""

    address: str

    def ask(self, where: str, body: dict[str, Any] | None = None) -> Any:
        """Its answer to a POST, or to a GET without a body."""
        data = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.address + where, data, kind)) as at:
            return json.load(at)

    def ids(self, text: str) -> list[int]:
        """The ids of a text, marks in it and around it included."""
        body = {"content": text, "add_special": True, "parse_special": True}
        ids: list[int] = self.ask("/tokenize", body)["tokens"]
        return ids

    def log_probabilities(self, prompt: list[int], size: int) -> list[float]:
        """Of each of the `size` ids, after the prompt, in float64 of what the server says."""
        for seed in range(20):  # where an end is drawn, the server tells nothing
            body = {"prompt": prompt, "n_predict": 1, "n_probs": size, "seed": seed}
            answer = self.ask("/completion", body | {"samplers": [], "cache_prompt": False})
            if told := answer.get("completion_probabilities"):
                found = {one["id"]: one["logprob"] for one in told[0]["top_logprobs"]}
                assert len(found) == size
                return [found[number] for number in range(size)]
        raise AssertionError("an end each time")

    def stops_at(self, token: int) -> bool:
        """Whether an answer that is made to be `token` ends there."""
        body = {"prompt": [5], "n_predict": 2, "logit_bias": [[token, 1000.0]], "samplers": []}
        return bool(self.ask("/completion", body)["stop_type"] == "eos")


@contextmanager
def loaded(path: Path, exact: bool = False) -> Iterator[Referee]:
    """llama.cpp with the file at `path`; its own log is in the error if it does not load.

    `exact`: keys and values in float32, where llama.cpp takes halves.
    """
    words = [sys.executable, __file__, str(path), *["exact"] * exact]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:  # type: ignore[call-overload]
        address = process.stdout.readline().strip()
        assert address, process.stderr.read()[-2000:]
        yield Referee(address)
        process.kill()


def _serve(path: str, exact: bool) -> None:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.verbosity = 0
    settings.n_parallel = 1
    settings.ui = settings.warmup = False
    settings.offline = True
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    if exact:
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(settings)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _serve(sys.argv[1], "exact" in sys.argv[2:])
