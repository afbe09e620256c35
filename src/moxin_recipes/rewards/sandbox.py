"""Confines a process that runs an unknown program: no files, no network, no new processes.

Any user of Linux with seccomp can do this, without root, namespaces or containers. After `confine`
the kernel lets the process compute, read its input and write a bounded output. It refuses every
other system call: the process cannot open, read or write other files; it has no socket; it cannot
fork, start a thread or signal others. The modules that the program may import are loaded before.
At each worker's start, `attempts` tries all of this, and no program runs where the sandbox does not
hold. (We ran it on x86-64; the numbers for 64-bit ARM are from the kernel's table.)
"""

import ctypes
import errno
import importlib
import io
import json
import os
import platform
import resource
import socket
import struct
import sys
import types
from collections.abc import Callable
from typing import Any

from moxin_recipes.rewards.pool import Result

MEMORY = 2**30  # bytes of address space
OUTPUT = 2**20  # bytes that can be written
# Modules that programs of contests and exercises import; no other module can be imported.
MODULES = """
    __future__ _strptime abc array ast base64 binascii bisect calendar cmath collections
    collections.abc contextlib copy dataclasses datetime decimal difflib enum fractions functools
    graphlib hashlib heapq inspect io itertools json keyword math numbers operator os os.path
    pprint queue random re statistics string struct sys textwrap threading time traceback types
    typing unicodedata uuid warnings weakref zlib encodings.ascii encodings.latin_1
"""
# The allowed system calls: name → number on x86-64 and on 64-bit ARM.
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigreturn": (15, 139),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "times": (100, 153),
    "getuid": (102, 174),
    "gettid": (186, 178),
    "time": (201, None),
    "futex": (202, 98),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}
_NEWFSTATAT = (262, 79)  # allowed for an open descriptor only
_AT_EMPTY_PATH = 0x1000
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, audit's number
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
# Classic BPF: load a word of the call's data, jump if equal, return.
_LOAD, _IF, _RETURN = 0x20, 0x15, 0x06
_KILL, _ALLOW, _REFUSE = 0x80000000, 0x7FFF0000, 0x00050000 | errno.EPERM


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _filter() -> bytes:
    """Returns the seccomp filter for this machine; raises OSError on an unknown architecture."""
    if platform.machine() not in _MACHINES:
        raise OSError(f"the sandbox knows x86-64 and 64-bit ARM, not {platform.machine()}")
    column, audit = _MACHINES[platform.machine()]

    def line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    numbers = [pair[column] for pair in _ALLOWED.values()]
    lines = [line(_LOAD, 4), line(_IF, audit, 1, 0), line(_RETURN, _KILL), line(_LOAD, 0)]
    for number in numbers:
        if number is not None:
            lines += [line(_IF, number, 0, 1), line(_RETURN, _ALLOW)]
    # The fourth argument of newfstatat, at offset 16 + 3 × 8, holds the flags.
    lines += [line(_IF, _NEWFSTATAT[column], 0, 3), line(_LOAD, 40)]
    lines += [line(_IF, _AT_EMPTY_PATH, 0, 1), line(_RETURN, _ALLOW), line(_RETURN, _REFUSE)]
    return b"".join(lines)


def confine(seconds: float, memory: int = MEMORY) -> None:
    """Confines this process from now on; raises OSError if the kernel cannot do it.

    It gets a CPU time of `seconds` and two more, and `memory` bytes of address space.
    """
    program = _filter()
    text = ctypes.create_string_buffer(program, len(program))
    filter_program = _Program(len(program) // 8, ctypes.cast(text, ctypes.c_void_p))
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_FSIZE: OUTPUT,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 16,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    for option, *values in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0),
        (_PR_SET_SECCOMP, _FILTER, ctypes.byref(filter_program)),
    ):
        if _LIBC.prctl(option, *values, 0, 0):
            raise OSError(ctypes.get_errno(), "the kernel refuses a seccomp filter")


def preload() -> None:
    """Imports all modules that a program may import."""
    for name in MODULES.split():
        importlib.import_module(name)


def hold(*descriptors: int) -> None:
    """Makes these the descriptors 0, 1, 2 … of this process; closes all others."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number + 100)  # first to numbers that none of them has
    for number in range(len(descriptors)):
        os.dup2(number + 100, number)
    os.closerange(len(descriptors), 2**16)


def run(step: dict[str, Any], output: int, seconds: float) -> None:
    """Runs `step["program"]` and writes what it prints, or what its function returns, to `output`.

    A step has either `input`, the text of standard input, or `function` and `calls`, which are
    lists of arguments. The results of calls are written as a JSON list. If the program has a class
    `Solution`, the function is its method. An exception of the program is raised.
    """
    input_file = os.memfd_create("input")
    os.write(input_file, step.get("input", "").encode())
    os.lseek(input_file, 0, os.SEEK_SET)
    null = os.open(os.devnull, os.O_WRONLY)
    printed = null if "function" in step else output
    hold(input_file, printed, null, output)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
    sys.stdout = out = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8")
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    confine(seconds)
    try:
        exec(compile(step["program"], "program.py", "exec"), main.__dict__)  # noqa: S102 (confined)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    out.flush()
    if "function" in step:
        owner = vars(main).get("Solution")
        owner = owner() if owner else main
        function = getattr(owner, step["function"])
        results = [function(*arguments) for arguments in step["calls"]]
        os.write(3, json.dumps(results).encode())


def missing(tried: Result) -> str:
    """Returns why the sandbox does not hold here, from the result of `attempts`, or ""."""
    if tried.failure:
        return f"programs cannot be confined here ({tried.failure}); it takes Linux with seccomp"
    allowed = json.loads(tried.output)
    return f"the sandbox does not hold here: it allows {', '.join(allowed)}" if allowed else ""


def attempts(step: Any, output: int, seconds: float) -> None:  # noqa: ARG001 (a step's shape)
    """Writes the names of forbidden actions that the kernel allows a confined process."""
    confine(seconds)
    attempts: dict[str, Callable[[], Any]] = {
        "reading files": lambda: os.open("/", os.O_RDONLY),
        "writing files": lambda: os.open("moxin-escape", os.O_WRONLY | os.O_CREAT),
        "files in memory": lambda: os.memfd_create("more"),
        "the network": lambda: socket.socket(),
        "new processes": os.fork,
        "other programs": lambda: os.execv(sys.executable, [sys.executable]),  # noqa: S606
        "signals to others": lambda: os.kill(os.getppid(), 0),
        "any amount of memory": lambda: bytearray(2 * MEMORY),
        "any amount of output": lambda: os.pwrite(output, b"x", 2 * OUTPUT),
    }
    allowed = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except (OSError, MemoryError):
            continue
        allowed.append(name)
    os.write(output, json.dumps(allowed).encode())
