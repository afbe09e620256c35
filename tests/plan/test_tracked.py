"""What is counted without memory is what real processes hold, to the byte."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.multiprocessing import start_processes
from transformers import MistralForCausalLM

from moxin_recipes.plan.flops import config_of
from moxin_recipes.plan.tracked import Adapter, optimizer_of, sharded, track
from moxin_recipes.recipe.memory import Shape, Step
from moxin_recipes.training.loss import fuse_loss

STEP = Step(shards=2, rows=2, tokens=32, sharded=True, mixed=False, checkpointing=True, pieces=True)
SHAPES = [
    Shape(512, 64, 96, 3, 4, 2, tied=False),
    Shape(1001, 48, 81, 2, 6, 6, tied=True),  # rows that two processes cannot halve
]


def really(rank: int, folder: Path, shape: Shape, step: Step) -> None:
    """A process of two that trains a step on gloo, and writes what it holds then."""
    torch.set_num_threads(1)
    where = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    model = MistralForCausalLM(config_of(shape))
    fuse_loss(model)
    net = sharded(model, step, init_device_mesh("cpu", (2,), mesh_dim_names=("shards",)))
    optimizer = optimizer_of(net, step)
    ids = torch.ones(step.rows, step.tokens, dtype=torch.long)
    net(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    gradients = [parameter.grad for parameter in net.parameters()]
    kept = [value for state in optimizer.state.values() for value in state.values()]
    sizes = [nbytes(list(net.parameters())), nbytes(gradients), nbytes(kept)]
    (folder / f"{rank}.json").write_text(json.dumps(sizes))
    torch.distributed.destroy_process_group()


def nbytes(tensors: list[torch.Tensor | None]) -> int:
    """Bytes of local storages; FSDP keeps the gradients of a layer in one."""
    held = [t.to_local() if isinstance(t, DTensor) else t for t in tensors if t is not None]
    storages = [tensor.untyped_storage() for tensor in held]
    return sum({one.data_ptr(): one.nbytes() for one in storages}.values())


@pytest.mark.parametrize("step", [STEP, replace(STEP, mixed=True, moments=1)], ids=["32", "16"])
@pytest.mark.parametrize("shape", SHAPES, ids=["even", "odd"])
def test_two_processes_hold_what_is_counted(tmp_path: Path, shape: Shape, step: Step) -> None:
    start_processes(really, (tmp_path, shape, step), nprocs=2, start_method="fork")
    held = track(shape, step)
    real = json.loads((tmp_path / "0.json").read_text())
    assert real == [held.parameters, held.gradients, held.optimizer]
    assert held.peak > sum(real)


def test_what_a_step_holds_beside_that() -> None:
    shape = Shape(512, 64, 256, 6, 4, 2, tied=False)
    step = replace(STEP, tokens=512)
    again, once = track(shape, step), track(shape, replace(step, checkpointing=False))
    assert once.peak > 2 * again.peak
    assert replace(once, peak=0) == replace(again, peak=0)
    more = track(shape, replace(step, rows=4))
    assert again.peak < more.peak < 2 * again.peak


def test_one_process_and_an_adapter() -> None:
    shape = SHAPES[0]
    alone = replace(STEP, shards=1, sharded=False)
    whole = track(shape, alone)
    assert whole.parameters == 4 * shape.parameters == whole.gradients
    adapter = Adapter(4, ("q_proj", "v_proj"))
    adapted = track(shape, alone, adapter)
    trained = shape.adapter(4, ["q_proj", "v_proj"])
    assert trained
    assert adapted.gradients == 4 * trained
    assert adapted.parameters == 4 * (shape.parameters + trained)
    half = track(shape, replace(alone, frozen=2, mixed=True), adapter)
    assert half.parameters == 2 * shape.parameters + 4 * trained


def test_an_adapter_on_shards() -> None:
    """The head is gathered with the last norm, so that the loss finds it."""
    shape, modules = SHAPES[0], ("q_proj", "v_proj")
    held = track(shape, STEP, Adapter(4, modules))
    trained = shape.adapter(4, [*modules])
    assert trained
    assert held.gradients == 4 * trained / STEP.shards
    assert held.parameters == 4 * (shape.parameters + trained) / STEP.shards
