"""Two results of one recipe, file by file: the same bytes, nearly the same weights, or others."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOLERANCE = 1e-4  # largest difference that rounding explains, of a tensor's largest weight
_ROUNDS = ("hardware", "installed", "launcher")  # what may round sums in another way
# Distributions whose version may; names of others that begin so belong to them.
_COMPUTE = (
    *("torch", "numpy", "triton", "nvidia-", "flash-attn", "liger-kernel", "vllm", "safetensors"),
    *("transformers", "trl", "accelerate", "peft", "datasets", "tokenizers", "python"),
)


@dataclass(frozen=True)
class Verdict:
    """`word` is bit-equal, within tolerance, or different; `lines` say why."""

    word: str
    lines: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the result was made again."""
        return self.word != "different"


def verdict(before: dict[str, Any], now: dict[str, Any], folders: tuple[Path, Path]) -> Verdict:
    """Compares the `files` of two manifests, whose files lie in the two folders.

    Weights may differ by rounding where processor, versions or launch do; nothing else may.
    """
    files, made = before["files"], now["files"]
    other = [name for name in files if name in made and files[name] != made[name]]
    lines = [f"{name}: only before" for name in files if name not in made]
    lines += [f"{name}: only now" for name in made if name not in files]
    if not other and not lines:
        return Verdict("bit-equal", ())
    near = not lines
    for name in other:
        apart = None
        if name.endswith(".safetensors"):
            apart = largest(*(folder / name for folder in folders))
        near = near and apart is not None and apart <= TOLERANCE
        by = "" if apart is None else f", by {apart:.2g} of its tensor's largest weight"
        lines.append(f"{name}: differs{by}")
    reasons = [f"{name}: {was} → {is_now}" for name, was, is_now in differences(before, now)]
    lines += reasons or ["machine, versions and launch are as they were"]
    return Verdict("within tolerance" if near and reasons else "different", tuple(lines))


def largest(before: Path, now: Path) -> float | None:
    """The largest difference of two files of weights, by its tensor's largest weight.

    None where names, shapes or types differ, and where whole numbers do; infinite where one file
    has a number that is none.
    """
    import torch
    from safetensors.torch import load_file

    one, two = load_file(before), load_file(now)
    if {n: (t.shape, t.dtype) for n, t in one.items()} != {
        n: (t.shape, t.dtype) for n, t in two.items()
    }:
        return None
    apart = 0.0
    for name, was in one.items():
        if torch.equal(was, two[name]):
            continue
        if not was.is_floating_point():
            return None
        both = torch.stack([was.double(), two[name].double()])
        if not bool(both.isfinite().all()):
            return math.inf
        size = float(both.abs().max())
        apart = max(apart, float((both[0] - both[1]).abs().max()) / size)
    return apart


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """What is not as it was of machine, versions and launch: name, before, now."""
    for section in _ROUNDS:
        was, is_now = before.get(section) or {}, now.get(section) or {}
        for name in sorted({*was, *is_now}):
            decides = section != "installed" or name.startswith(_COMPUTE)
            if decides and was.get(name) != is_now.get(name):
                yield f"{section} {name}", was.get(name), is_now.get(name)
