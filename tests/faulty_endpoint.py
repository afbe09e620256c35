"""An OpenAI-compatible endpoint that fails on purpose; run as a program or in a thread.

    python tests/faulty_endpoint.py PORT ASKED_FILE [--die-after N] [--faults]

It solves the sums it is asked, and notes each request (the prompt, the seed and what it did about
it) in ASKED_FILE. With --faults it is slow, says 429 and 500, cuts its JSON short and hangs up, by
chance, but to no request more than four times. "poison FAULT" in a prompt is that fault each time.
"""

import argparse
import http.server
import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from typing import Any


class Server(http.server.ThreadingHTTPServer):
    """Its state: what was asked, how many answers were given, and which faults to make."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, asked: str, die_after: int | None, faults: bool) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.asked, self.die_after, self.faults = asked, die_after, faults
        self.tries: Counter[int] = Counter()
        self.rng, self.lock, self.given = random.Random(1), threading.Lock(), 0
        self.always = ""  # a fault for all

    def note(self, row: dict[str, Any]) -> None:
        with self.lock, open(self.asked, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(row) + "\n")


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        """One chat completion, or a fault."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = asked["messages"][-1]["content"]
        with self.server.lock:
            kinds = ["429", "500", "truncated", "hang-up", "slow", "", "", ""]
            self.server.tries[asked["seed"]] += 1
            bad = self.server.faults and self.server.tries[asked["seed"]] < 5
            fault = self.server.rng.choice(kinds) if bad else ""
        poison = re.search(r"poison (\S+)", prompt)
        fault = self.server.always or (poison.group(1) if poison else fault)
        token = self.headers.get("authorization", "")
        self.server.note({"prompt": prompt, "seed": asked["seed"], "did": fault, "token": token})
        if fault.isdigit():
            headers = {"retry-after": "0"} if fault == "429" else {}
            return self.reply(int(fault), b'{"error": "on purpose"}', headers)
        if fault == "slow":
            time.sleep(0.2)
        if fault == "hang-up":
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        body = json.dumps(completion(asked, prompt, fault)).encode()
        if fault == "truncated":
            body = body[: len(body) // 2]
        self.reply(200, body, {})
        with self.server.lock:
            self.server.given += fault != "truncated"
            if self.server.given == self.server.die_after:
                os._exit(1)
        return None

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def completion(asked: dict[str, Any], prompt: str, fault: str) -> dict[str, Any]:
    """The worked sum in the prompt, in OpenAI's form; `empty`, `cut` and FORMS are faults."""
    sums = re.search(r"\d+(?:[+-]\d+)+", prompt)
    total = sum(int(term) for term in re.findall(r"[+-]?\d+", sums.group())) if sums else 0
    text = f"I add.\n</think>\n\\boxed{{{total}}} (seed {asked['seed']})"
    message = {"role": "assistant", "content": "" if fault == "empty" else text}
    reason = "length" if fault == "cut" else "stop"
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    if fault in FORMS:
        message, reason, usage = FORMS[fault](text, message, reason, usage)
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": asked["model"],
        "system_fingerprint": "",
        "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        "usage": usage,
    }


def _parts(kind: str, text: str) -> list[dict[str, Any]]:
    return [{"type": kind, kind: text}]


# Other servers' forms of (text, message, finish_reason, usage), by name.
FORMS: dict[str, Any] = {
    "parts": lambda t, m, r, u: ({**m, "content": _parts("text", t)}, r, u),
    "two-parts": lambda t, m, r, u: (
        {**m, "content": [*_parts("text", t[:5]), *_parts("text", t[5:])]}, r, u
    ),
    "thinking": lambda t, m, r, u: (
        {**m, "content": [
            {"type": "thinking", "thinking": _parts("text", "I add.")},
            *_parts("text", t.partition("</think>")[2]),
        ]}, r, u,
    ),
    "refusal": lambda _, m, r, u: ({**m, "content": None, "refusal": "I cannot."}, r, u),
    "refusal-part": lambda _, m, r, u: ({**m, "content": _parts("refusal", "I cannot.")}, r, u),
    "content_filter": lambda _, m, r, u: (m, "content_filter", u),
    "SAFETY": lambda _, m, r, u: ({**m, "content": None}, "SAFETY", u),
    "max_tokens": lambda _, m, r, u: (m, "max_tokens", u),
    "MAX_TOKENS": lambda _, m, r, u: (m, "MAX_TOKENS", u),
    "model_length": lambda _, m, r, u: (m, "model_length", u),
    "no-reason": lambda _, m, r, u: (m, None, u),
    "some-usage": lambda _, m, r, u: (m, r, {"total_tokens": 12}),
    "null-usage": lambda _, m, r, u: (m, r, {"prompt_tokens": None, "completion_tokens": None}),
    "no-usage": lambda _, m, r, u: (m, r, {}),
    "null": lambda _, m, r, u: (m, r, None),
    "half-sign": lambda t, m, r, u: ({**m, "content": f"{t} \ud83d"}, r, u),
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("asked")
    parser.add_argument("--die-after", type=int)
    parser.add_argument("--faults", action="store_true")
    given = parser.parse_args()
    Server(given.port, given.asked, given.die_after, given.faults).serve_forever()
