"""What a training step holds, counted: every storage of the real FSDP2, without memory for any."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_apply_ac, fsdp2_prepare_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AttentionInterface, AttentionMaskInterface, MistralForCausalLM
from trl.trainer.utils import add_fused_lm_head

from moxin_recipes.recipe.memory import Shape, Step
from moxin_recipes.training.loss import fuse_loss


class Flash(torch.autograd.Function):
    """Keeps what flash attention keeps: its inputs, its output, a number a row and head."""

    @staticmethod
    def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
        query = inputs[0]
        out = torch.empty_like(query.transpose(1, 2).contiguous())
        ctx.save_for_backward(*inputs, out, query.new_empty(query.shape[:3], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> Any:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


AttentionInterface.register(
    "flash_kept", lambda _, q, k, v, *__, **___: (Flash.apply(q, k, v), None)
)
AttentionMaskInterface.register("flash_kept", lambda *_, **__: None)


class Storages(TorchDispatchMode):
    """Bytes of all storages that an operation has seen and that still live; `peak` of them."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def set(self, key: int, size: int) -> None:
        self.now += size - self._sizes.get(key, 0)
        self._sizes[key] = size

    def drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                storage = getattr(tensor, "_local_tensor", tensor).untyped_storage()
                if storage._cdata not in self._sizes:
                    weakref.finalize(storage, self.drop, storage._cdata)
                self.set(storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    @contextmanager
    def resizes(self) -> Iterator[None]:
        """FSDP frees what it gathered by resizing its storage, which is no operation."""
        original = torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            if storage._cdata in self._sizes:
                self.set(storage._cdata, size)
            return original(storage, size)

        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = original  # type: ignore[method-assign]


def sharded(model: MistralForCausalLM, step: Step, mesh: DeviceMesh) -> torch.nn.Module:
    """The model as accelerate makes it for a launch of these shards."""
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if step.mixed else None
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["MistralDecoderLayer"],
        reshard_after_forward=True,
        activation_checkpointing=step.checkpointing,
        cpu_ram_efficient_loading=False,
        mixed_precision_policy=policy,
    )
    accelerator: Any = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        mixed_precision="bf16" if step.mixed else "no",
        is_main_process=False,
        torch_device_mesh={("shards",): mesh},
        parallelism_config=SimpleNamespace(fsdp_dim_names=["shards"]),
    )
    plugin.set_auto_wrap_policy(model)
    if step.checkpointing:
        fsdp2_apply_ac(accelerator, model)
    made: torch.nn.Module = fsdp2_prepare_model(accelerator, model)
    return made


def peak(config: Any, shape: Shape, step: Step) -> int:
    """The most bytes that the second training step holds on one of `step.shards` GPUs."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=step.shards)
    try:
        mesh = init_device_mesh("cpu", (step.shards,), mesh_dim_names=("shards",))
        with FakeTensorMode():
            return _peak(MistralForCausalLM(config), step, mesh)
    finally:
        torch.distributed.destroy_process_group()


def _peak(model: MistralForCausalLM, step: Step, mesh: DeviceMesh) -> int:
    model.config._attn_implementation = "flash_kept"
    model.config.use_cache = False  # as the Trainer sets it
    options: dict[str, Any] = {}
    if step.pieces:
        fuse_loss(model)
    else:
        add_fused_lm_head(model)
        options = {"fused_lm_head": True}
    net = sharded(model, step, mesh)
    optimizer = torch.optim.AdamW(net.parameters(), foreach=False)
    ids = torch.ones(step.rows, step.tokens, dtype=torch.long)
    storages = Storages()
    with storages.resizes(), storages:
        for _ in range(2):
            storages.peak = 0
            net(input_ids=ids, labels=ids, **options).loss.backward()
            highest = storages.peak
            optimizer.step()
            optimizer.zero_grad()
    return highest
