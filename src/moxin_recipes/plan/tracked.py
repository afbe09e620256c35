"""What a training step holds, counted on the real model: all storages, without memory for any.

torch's own `FSDPMemTracker` wants every FSDP unit to run its forward pass. The head never does: our
loss takes its weight alone. So the storages are counted here.
"""

import functools
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_apply_ac, fsdp2_prepare_model
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AttentionInterface, AttentionMaskInterface, MistralForCausalLM

from moxin_recipes.plan.flops import config_of
from moxin_recipes.recipe.memory import BFLOAT16, PIECE, Shape, Step
from moxin_recipes.training import sharding
from moxin_recipes.training.loss import fuse_loss
from moxin_recipes.training.selective import checkpoint_selectively

_KEPT = "moxin_kept"


@dataclass(frozen=True)
class Adapter:
    """LoRA's rank and the modules that it adapts, as PEFT takes them."""

    rank: int
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """Bytes of one GPU: what it always holds, and the most that a training step holds."""

    parameters: int
    gradients: int
    optimizer: int
    peak: int


def _attended(
    query: torch.Tensor,
    key: torch.Tensor,  # noqa: ARG001
    value: torch.Tensor,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    """As large as what flash attention gives: its output, and a number a row and head."""
    out = torch.empty_like(query.transpose(1, 2).contiguous())
    return out, query.new_empty(query.shape[:3], dtype=torch.float32)


# Named as a kernel, by which training/selective.py knows it.
_attend = torch.library.custom_op("moxin::flash_attn", _attended, mutates_args=())
_attend.register_fake(_attended)


class _Flash(torch.autograd.Function):
    """Keeps what flash attention keeps: its inputs, its output, a number a row and head."""

    @staticmethod
    def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor
        out, sums = _attend(*inputs)
        ctx.save_for_backward(*inputs, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> Any:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


AttentionInterface.register(_KEPT, lambda _, q, k, v, *__, **___: (_Flash.apply(q, k, v), None))
AttentionMaskInterface.register(_KEPT, lambda *_, **__: None)


class _Storages(TorchDispatchMode):
    """Bytes of all storages that an operation has seen and that still live; `peak` of them."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def see(self, tensor: torch.Tensor) -> None:
        storage = _local(tensor).untyped_storage()
        if storage._cdata not in self._sizes:
            weakref.finalize(storage, self._drop, storage._cdata)
        self._set(storage._cdata, storage.nbytes())

    def _set(self, key: int, size: int) -> None:
        self.now += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        self.peak = max(self.peak, self.now)

    def _drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        return out

    @contextmanager
    def resizes(self) -> Iterator[None]:
        """FSDP frees what it gathered by resizing its storage, which is no operation."""
        original = torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            if storage._cdata in self._sizes:
                self._set(storage._cdata, size)
            return original(storage, size)

        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = original  # type: ignore[method-assign]


def sharded(model: Any, step: Step, mesh: DeviceMesh) -> torch.nn.Module:
    """The model as accelerate makes it for FSDP2 over the processes of `mesh`, a unit a layer."""
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if step.mixed else None
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["MistralDecoderLayer"],
        reshard_after_forward=True,
        activation_checkpointing=step.checkpointing and not step.selective,
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
    sharding.keep_head_with_norm()
    if plugin.activation_checkpointing:
        fsdp2_apply_ac(accelerator, model)
    made: torch.nn.Module = fsdp2_prepare_model(accelerator, model)
    return made


def optimizer_of(net: torch.nn.Module, step: Step) -> torch.optim.Optimizer:
    """One that keeps as many numbers a weight as the stage's does, a tensor at a time."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if step.moments == 2:
        return torch.optim.AdamW(trained, foreach=False, fused=False)
    return torch.optim.SGD(trained, lr=1e-3, momentum=0.9, foreach=False, fused=False)


@functools.cache
def track(shape: Shape, step: Step, adapter: Adapter | None = None) -> Held:
    """Counts a step of rank 0 of `step.shards` GPUs; each launch, model and batch is counted once.

    The mesh is made outside of the fake mode, for it holds real tensors.
    """
    with torch.device("meta"):
        model = _model(shape, step, adapter)
    if not step.sharded:
        with FakeTensorMode():
            return _track(model, step, None)
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=step.shards)
    try:
        mesh = init_device_mesh("cpu", (step.shards,), mesh_dim_names=("shards",))
        with FakeTensorMode():
            return _track(model, step, mesh)
    finally:
        torch.distributed.destroy_process_group()


def _track(model: Any, step: Step, mesh: DeviceMesh | None) -> Held:
    _without_memory(model)
    net = model if mesh is None else sharded(model, step, mesh)
    optimizer = optimizer_of(net, step)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in trained:  # a step before the one that is counted, for the optimizer's state
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    state = [one for kept in optimizer.state.values() for one in kept.values()]
    state = [one for one in state if isinstance(one, torch.Tensor)]
    ids = torch.ones(step.rows, step.tokens, dtype=torch.long)
    storages = _Storages()
    mixed = step.mixed and not step.sharded
    autocast = torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext()
    with storages.resizes(), storages:
        for tensor in (*net.parameters(), *net.buffers(), *state):
            storages.see(tensor)
        with autocast:
            loss = net(input_ids=ids, labels=ids).loss
        loss.backward()
    gradients = [one.grad for one in trained if one.grad is not None]
    sizes = (size_of(net.parameters()), size_of(gradients), size_of(state))
    return Held(*sizes, storages.peak)


def _model(shape: Shape, step: Step, adapter: Adapter | None) -> Any:
    """The model as a stage trains it, on the meta device."""
    config = config_of(shape)
    config._attn_implementation = _KEPT
    config.use_cache = False  # as the Trainer sets it
    model: Any = MistralForCausalLM(config)
    fuse_loss(model, piece=PIECE)  # a GPU's: the fake tensors are a CPU's
    if adapter:
        if step.frozen == BFLOAT16:
            model.to(torch.bfloat16)
        modules: Any = list(adapter.modules)
        modules = "all-linear" if modules == ["all-linear"] else modules
        model = get_peft_model(model, LoraConfig(r=adapter.rank, target_modules=modules))
    if step.selective:
        checkpoint_selectively(model)
    elif step.checkpointing and not step.sharded:
        model.activation_checkpointing_enable()
    model.train()
    return model


def _without_memory(model: torch.nn.Module) -> None:
    """Puts fake tensors of the CPU in the place of the meta device's; tied ones stay tied."""
    fakes: dict[int, Any] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, old in tensors.items():
                if old is None:
                    continue
                if id(old) not in fakes:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    is_parameter = isinstance(old, torch.nn.Parameter)
                    fakes[id(old)] = (
                        torch.nn.Parameter(new, old.requires_grad) if is_parameter else new
                    )
                tensors[name] = fakes[id(old)]


def size_of(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of this process's part of tensors, each storage once."""
    storages = {_local(one).untyped_storage()._cdata: _local(one) for one in tensors}
    return sum(one.untyped_storage().nbytes() for one in storages.values())


def _local(tensor: torch.Tensor) -> torch.Tensor:
    local: torch.Tensor = getattr(tensor, "_local_tensor", tensor)
    return local
