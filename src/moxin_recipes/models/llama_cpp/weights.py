"""Writes a Llama or Mistral model as one GGUF file of llama.cpp's architecture `llama`.

A tensor is in memory once. Source of the names: gguf's own tensor map; of the order of the rows of
queries and keys, which llama.cpp rotates in neighbouring pairs and transformers in halves:
github.com/ggml-org/llama.cpp, conversion/llama.py (LlamaModel.permute).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open

from moxin_recipes.models.llama_cpp.vocabulary import Vocabulary
from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter
    from transformers import PretrainedConfig

_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Source:
    """A model in safetensors: its folder, its config, and what errors call it."""

    folder: Path
    config: "PretrainedConfig"
    where: str

    def tensors(self) -> list[tuple[Path, str, list[int]]]:
        """File, name and shape of each tensor, in the order of the files."""
        found = []
        for path in sorted(self.folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in sorted(file.keys()):
                    found.append((path, name, list(file.get_slice(name).get_shape())))
        return found


def context_length(config: "PretrainedConfig") -> int:
    """The tokens for which llama.cpp computes what the model does.

    Its architecture `llama` has no sliding window (src/models/llama.cpp, build_attn_inp_kv): up to
    the window both see every token, and beyond it they differ.
    """
    window = getattr(config, "sliding_window", None)
    positions = int(config.max_position_embeddings)
    return min(positions, int(window)) if window else positions


def check(config: "PretrainedConfig", where: str) -> None:
    """Raises RecipeError unless llama.cpp's `llama` computes what this model does."""
    named = (config.architectures or ["none"])[0]
    rope = getattr(config, "rope_parameters", None) or {}
    biases = [key for key in ("attention_bias", "mlp_bias") if getattr(config, key, False)]
    wrong = {
        f"its architecture is {named}": named not in _ARCHITECTURES,
        f"its `hidden_act` is {config.hidden_act}": config.hidden_act != "silu",
        f"its positions are scaled ({rope.get('rope_type')})": rope.get("rope_type") != "default",
        f"it has `{next(iter(biases), '')}`": bool(biases),
    }
    for why, is_wrong in wrong.items():
        if is_wrong:
            raise RecipeError(
                f"{where}: {why}; `moxin gguf` writes {' and '.join(_ARCHITECTURES)} with SiLU, "
                "plain rotary positions and no biases; llama.cpp's convert_hf_to_gguf.py knows more"
            )


def write(source: Source, vocabulary: Vocabulary, path: Path, kind: str, name: str) -> None:
    """Writes the whole model to `path`; matrices are of the `kind`, vectors float32.

    Raises RecipeError for a weight that a half cannot hold.
    """
    import gguf

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    writer = gguf.GGUFWriter(part, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    _add_shape(writer, source.config, kind, name)
    vocabulary.add_to(writer)
    tensors = source.tensors()
    mapped = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, source.config.num_hidden_layers)
    for _, theirs, shape in tensors:
        ours = mapped.get_name(theirs, (".weight",))
        if ours is None:
            raise RecipeError(f"{source.where}: llama.cpp's `llama` has no tensor for {theirs}")
        stored = _stored_as(shape, kind)
        in_bytes = gguf.quant_shape_to_byte_shape(shape, stored)
        size = int(np.prod(in_bytes, dtype=np.int64))
        writer.add_tensor_info(ours, in_bytes, np.dtype(np.uint8), size, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for (_, theirs, shape), values in zip(tensors, _values(tensors), strict=True):
            stored = _stored_as(shape, kind)
            _check_range(values, stored.name, f"{source.where}: {theirs}")
            data = gguf.quantize(_permuted(values, theirs, source.config), stored)
            writer.write_tensor_data(np.ascontiguousarray(data))
        writer.close()
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _add_shape(writer: "GGUFWriter", config: "PretrainedConfig", kind: str, name: str) -> None:
    import gguf

    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    whole = kind == "f32"
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    file_type = "ALL_F32" if whole else f"MOSTLY_{kind.upper()}"
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(context_length(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _stored_as(shape: list[int], kind: str) -> "GGMLQuantizationType":
    """The type of a tensor: rows that Q8_0's blocks of 32 do not fill are float16."""
    import gguf

    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    if kind == "q8_0" and shape[-1] % 32:
        kind = "f16"
    return gguf.GGMLQuantizationType[kind.upper()]


def _values(tensors: list[tuple[Path, str, list[int]]]) -> Iterator[np.ndarray]:
    for path, name, _ in tensors:
        with safe_open(path, framework="pt") as file:
            yield file.get_tensor(name).to(torch.float32).numpy()


def _check_range(values: np.ndarray, stored: str, what: str) -> None:
    largest = float(np.abs(values).max(initial=0.0))
    if stored not in ("F32", "BF16") and not largest <= _LARGEST_HALF:
        raise RecipeError(f"{what} has values up to {largest:.3g}, too large here; --type bf16")


def _permuted(values: np.ndarray, name: str, config: Any) -> np.ndarray:
    """Rows of queries and keys in llama.cpp's order, head by head; all else as it is."""
    heads = {
        "q_proj.weight": config.num_attention_heads,
        "k_proj.weight": config.num_key_value_heads,
    }
    for end, count in heads.items():
        if name.endswith(end):
            halves = values.reshape(count, 2, len(values) // count // 2, *values.shape[1:])
            return halves.swapaxes(1, 2).reshape(values.shape)
    return values
