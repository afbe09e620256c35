"""Says on what a figure was measured."""

import platform
from importlib import metadata
from pathlib import Path

import torch


def machine(*packages: str) -> str:
    """Returns "PROCESSOR, N thread(s), Python X, PACKAGE VERSION, …", one line.

    The threads are those that torch computes with in this process.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(": ")[1] for line in lines if "model name" in line), "?")
    threads = torch.get_num_threads()
    versions = [f"{package} {metadata.version(package)}" for package in packages]
    words = [processor, f"{threads} thread{'s' * (threads > 1)}"]
    return ", ".join([*words, f"Python {platform.python_version()}", *versions])
