"""Says on what a figure was measured."""

import platform
from importlib import metadata
from pathlib import Path


def machine(*packages: str) -> str:
    """Returns "PROCESSOR, Python X, PACKAGE VERSION, …", one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(": ")[1] for line in lines if "model name" in line), "?")
    versions = [f"{package} {metadata.version(package)}" for package in packages]
    return ", ".join([processor, f"Python {platform.python_version()}", *versions])
