"""Muon: the library's update, groups for every parameter, and exact resume."""

from pathlib import Path

import pytest
import torch
from tests.tiny import tiny_mistral
from tests.training.small import muon_keys
from transformers import MistralForCausalLM, TrainingArguments

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training import optimizers
from moxin_recipes.training.optimizers import Muon, orthogonal
from moxin_recipes.training.trainers import PretrainTrainer


def model(tied: bool = False) -> MistralForCausalLM:
    shape = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24}
    return tiny_mistral(**shape, tie_word_embeddings=tied)


def arguments(folder: Path, steps: int = 6) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        max_steps=6,
        save_steps=steps,
        learning_rate=0.02,
        weight_decay=0.1,
        warmup_steps=2,
        use_cpu=True,
        report_to="none",
    )


def trained(folder: Path, checkpoint: Path | None = None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 64, (12, 16), generator=generator)
    rows = [{"input_ids": row, "labels": row, "position_ids": torch.arange(16)} for row in ids]
    net, args = model(), arguments(folder, steps=3)
    trainer = PretrainTrainer(
        model=net,
        args=args,
        train_dataset=rows,
        optimizer_cls_and_kwargs=optimizers.class_and_options(muon_keys(), args, net),
    )
    if checkpoint:
        trainer.start_step = int(checkpoint.name.removeprefix("checkpoint-"))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    assert isinstance(trainer.optimizer.optimizer, Muon)
    return net.state_dict()


@pytest.mark.parametrize("shape", [(48, 16), (16, 16), (16, 48)])
def test_a_step_is_the_librarys(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(3, *shape, generator=generator)
    gradients = torch.randn(2, 3, *shape, generator=generator)
    ours, theirs = ([torch.nn.Parameter(m.clone()) for m in start] for _ in range(2))
    group = {"params": ours, "momentum": 0.9}
    our_optimizer = Muon([group], lr=0.02, weight_decay=0.1)
    their_optimizer = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9)
    for gradient in gradients:
        for parameters, optimizer in ((ours, our_optimizer), (theirs, their_optimizer)):
            for parameter, value in zip(parameters, gradient, strict=True):
                parameter.grad = value.clone()
            optimizer.step()
    moved = (torch.stack(theirs) - start).norm()
    # Theirs computes in bfloat16, which is good to a few in a hundred after five rounds.
    assert (torch.stack(ours) - torch.stack(theirs)).norm() < 0.03 * moved


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("shape", [(4, 40, 12), (4, 12, 12), (4, 12, 40)])
def test_an_update_is_nearly_orthogonal(shape: tuple[int, ...], bf16: bool) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    updates = orthogonal(matrices, bf16)
    assert updates.dtype == torch.float32
    assert torch.equal(updates, updates.bfloat16().float()) == bf16
    sizes = torch.linalg.svdvals(updates)
    assert 0.3 < sizes.min() < sizes.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    along = torch.einsum("nij,nij->n", updates, left @ right) / 12
    assert along.min() > 0.7  # its singular vectors are those of the matrix


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_has_one_group_and_its_rate(tmp_path: Path, tied: bool) -> None:
    net = model(tied)
    class_and_options = optimizers.class_and_options(
        muon_keys(head_learning_rate=0.5), arguments(tmp_path), net
    )
    assert class_and_options is not None
    optimizer = class_and_options[0](**class_and_options[1])
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(net.parameters()))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates)
    by_name = {name: rates[id(p)] for name, p in net.named_parameters()}
    assert by_name["model.layers.1.mlp.down_proj.weight"] == 0.02
    assert by_name["model.embed_tokens.weight"] == 0.1
    assert by_name["model.norm.weight"] == 0.01
    assert by_name.get("lm_head.weight") == (None if tied else 0.5)
    decayed = [group for group in optimizer.param_groups if group["weight_decay"]]
    assert [("momentum" in group) for group in decayed] == [True]


@pytest.mark.parametrize("bf16", [False, True])
def test_updates_are_computed_in_the_precision_of_the_recipe(tmp_path: Path, bf16: bool) -> None:
    net = model()
    args = TrainingArguments(output_dir=str(tmp_path), bf16=bf16, use_cpu=True, learning_rate=1.0)
    kind, options = optimizers.muon(muon_keys(), args, net)
    matrix = net.model.layers[0].mlp.up_proj.weight
    before = matrix.detach().clone()
    matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(4))
    kind(**options).step()
    update = orthogonal(matrix.grad[None], bf16)[0] * (24 / 16) ** 0.5
    torch.testing.assert_close(before - matrix, update, rtol=0, atol=1e-6)


def test_resume_gives_the_same_weights(tmp_path: Path) -> None:
    undisturbed = trained(tmp_path / "whole")
    again = trained(tmp_path / "again", tmp_path / "whole" / "checkpoint-3")
    start = model().state_dict()
    for name, tensor in undisturbed.items():
        assert torch.equal(tensor, again[name]), name
        assert not torch.equal(tensor, start[name]), name
    state = torch.load(tmp_path / "whole/checkpoint-3/optimizer.pt", weights_only=True)
    assert len(state["state"]) == len(start)


def test_adamw_is_the_trainers_own(tmp_path: Path) -> None:
    assert (
        optimizers.class_and_options(muon_keys(optimizer="adamw"), arguments(tmp_path), model())
        is None
    )


def test_unknown_names_are_refused() -> None:
    with pytest.raises(RecipeError, match="there is no lion; use adamw, muon"):
        optimizers.check("lion")
    for name in optimizers.OPTIMIZERS:
        optimizers.check(name)
