"""Models that are saved end where their chat template ends a turn, whoever generates with them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from lm_eval.api.instance import Instance
from tests.chats import templates
from tests.tiny import tiny_mistral, turns
from tests.training.conftest import quiet
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, pipeline
from trl import DPOConfig, DPOTrainer, GRPOConfig, ModelConfig, SFTConfig

from moxin_recipes import rewards
from moxin_recipes.chats import template
from moxin_recipes.chats.pack import PackedRows, encode_chats
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.models.chat import Talk
from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import held_out
from moxin_recipes.scores.model import Model
from moxin_recipes.teachers.ask import Request, Transformers
from moxin_recipes.training import adapters
from moxin_recipes.training.post_training import PostTraining
from moxin_recipes.training.trainers import PackedSFTTrainer

QUESTION = turns("how many?")
END = "<|im_end|>"


def start(folder: Path, jinja: str | None = templates.CHATML, **shape: Any) -> Path:
    """A model that ends at `</s>`, as its tokenizer does, with this template."""
    tokenizer = templates.tokenizer("</s>", jinja)
    net = tiny_mistral(tokenizer, **shape)
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tuning(
    folder: Path, args: Any, lora: bool = False, problems: str | None = None
) -> PostTraining:
    """A stage's tuning of the model in `folder`, without a ladder."""
    config = ModelConfig(
        use_peft=lora, lora_r=4, lora_target_modules=["q_proj", "v_proj"], dtype="float32"
    )
    run: Any = SimpleNamespace(
        pull=lambda _: folder,
        keys=SimpleNamespace(problems_name=problems),
        args=args,
        model_config=config,
        recipe=SimpleNamespace(values={}),
        ranks=SimpleNamespace(once=lambda _, work: work()),
    )
    return PostTraining(run)


def sft(folder: Path, work: Path, lora: bool = False, **more: Any) -> Any:
    tuned = tuning(folder, SFTConfig(**quiet(work, **more)), lora)
    template.prepare_tokenizer(tuned.tokenizer, None, None)
    chats = Dataset.from_dict({"messages": [turns("how many?", "so many")] * 80})
    encoded = encode_chats(chats, tuned.tokenizer, 32, work / "chats")
    rows = PackedRows(encoded, 32, 1, 0, 1, tuned.tokenizer.pad_token_id)
    return tuned.trainer(PackedSFTTrainer, tuned.model(), train_dataset=rows.as_dataset())


def dpo(folder: Path, work: Path, lora: bool = False, **more: Any) -> Any:
    tuned = tuning(folder, DPOConfig(**quiet(work, **more)), lora)
    template.settle(tuned.tokenizer, "model_name_or_path")
    answers = [[{"role": "assistant", "content": text}] for text in ("12", "many")]
    pairs = [{"prompt": QUESTION, "chosen": answers[0], "rejected": answers[1]}] * 4
    return tuned.trainer(DPOTrainer, tuned.model(), train_dataset=Dataset.from_list(pairs))


def grpo(folder: Path, work: Path, lora: bool = False, **more: Any) -> Any:
    options = {"num_generations": 4, "max_completion_length": 4, "per_device_train_batch_size": 4}
    tuned = tuning(folder, GRPOConfig(**quiet(work, **options, **more)), lora)
    template.settle(tuned.tokenizer, "model_name_or_path")
    return tuned.trainer(
        CpuGRPOTrainer,
        str(folder),
        reward_funcs=[lambda completions, **_: [float(len(c[0]["content"])) for c in completions]],
        train_dataset=Dataset.from_list([{"prompt": QUESTION}] * 4),
    )


def saved(trainer: Any, folder: Path, begun: Path) -> Path:
    """What a stage would push."""
    trainer.save_model(str(folder))
    adapters.merge(trainer, folder, begun)
    return folder


def test_tuned_on_chatml_a_model_that_ended_at_eos_ends_its_turns(tmp_path: Path) -> None:
    begun = start(tmp_path / "start")
    trainer = sft(begun, tmp_path / "work", max_steps=40, optim="adamw_torch", learning_rate=1e-2)
    trainer.train()
    folder = saved(trainer, tmp_path / "done", begun)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == END
    assert tokenizer.chat_template == templates.CHATML
    config = GenerationConfig.from_pretrained(folder)
    assert config.eos_token_id == [tokenizer.eos_token_id, 2]  # the old one, too
    # Whoever knows nothing of this package:
    plain = pipeline("text-generation", model=str(folder), device="cpu")
    (answer,) = plain(QUESTION, max_new_tokens=40, do_sample=False)
    assert answer["generated_text"][-1] == {"role": "assistant", "content": "so many"}
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0].tolist()
    assert ids[-1] == tokenizer.eos_token_id
    assert len(ids) < prompt["input_ids"].shape[1] + 40
    ends_everywhere(folder)
    # As models on the Hub are, too: neither file names the end of a turn.
    tokenizer.eos_token = "</s>"
    tokenizer.save_pretrained(folder)
    GenerationConfig(eos_token_id=2).save_pretrained(folder)
    ends_everywhere(folder)


def ends_everywhere(folder: Path) -> None:
    """Scores, benchmarks, teachers and talks get the whole answer, and it ended."""
    problems = Dataset.from_dict({"problem": ["how many?"], "answer": ["so many"]})
    scores, _ = held_out.answers(folder, problems, "plain", samples=1, max_new_tokens=40, seed=0)
    assert (scores["accuracy"], scores["ended"]) == (1.0, 1.0)
    assert Talk(folder, made_here=False).answer("how many?") == "so many"
    model = Model(folder, batch_size=2, dtype="float32", add_bos=None)
    model.chat = True
    way = {"until": [], "max_gen_toks": 40}
    request = Instance("generate_until", {}, (model.apply_chat_template(QUESTION), way), 0)
    (said,) = model.answer("generate_until", [request], [0], 0)
    assert (said.value, said.finish) == ("so many", "stop")
    keys = DistillKeys(stage="distill", hub_dataset_id="x", max_new_tokens=40, temperature=0)
    (answer,) = Transformers(keys, folder)([Request(0, 0, "how many?", 0)])
    assert (answer.text, answer.cut) == ("so many", False)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("train", [sft, dpo, grpo])
def test_template_eos_and_generation_config_agree_after_each_stage(
    train: Any, lora: bool, tmp_path: Path
) -> None:
    begun = start(tmp_path / "start")
    trainer = train(begun, tmp_path / "work", lora)
    if train is grpo:
        end = trainer.processing_class.convert_tokens_to_ids(END)
        assert end in trainer.eos_token_ids
    trainer.train()
    folder = saved(trainer, tmp_path / "done", begun)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.chat_template) == (END, templates.CHATML)
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [tokenizer.eos_token_id, 2]
    assert AutoModelForCausalLM.from_pretrained(folder).config.eos_token_id in (
        tokenizer.eos_token_id,
        [tokenizer.eos_token_id, 2],
    )


def test_a_teacher_whose_answers_could_not_end_is_refused(tmp_path: Path) -> None:
    begun = start(tmp_path, templates.ENDLESS)
    keys = DistillKeys(stage="distill", hub_dataset_id="x")
    with pytest.raises(RecipeError) as refused:
        Transformers(keys, begun)
    assert str(refused.value) == (
        "`model_name_or_path`: the model's chat template cannot be used: nothing ends the "
        "assistant's turn; save the model with another one (SFT has the key `chat_template`)"
    )


def test_where_the_template_needs_its_eos_the_generation_config_names_the_end(
    tmp_path: Path,
) -> None:
    begun = start(tmp_path / "start", templates.PHI)
    for place, train in enumerate((sft, grpo)):
        trainer = train(begun, tmp_path / f"work-{place}")
        trainer.train()
        folder = saved(trainer, tmp_path / f"done-{place}", begun)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        end = tokenizer.convert_tokens_to_ids("<|end|>")
        assert tokenizer.eos_token == "</s>"
        assert GenerationConfig.from_pretrained(folder).eos_token_id == [end, 2]
    assert trainer.eos_token_ids == [end, 2]
    assert trainer.generation_config.eos_token_id == [end, 2]


def test_what_already_agrees_stays_as_it_is(tmp_path: Path) -> None:
    begun = start(tmp_path / "start", templates.ZEPHYR)
    folder = saved(sft(begun, tmp_path / "work"), tmp_path / "done", begun)
    for name in ("generation_config.json", "chat_template.jinja", "tokenizer.json"):
        assert (folder / name).read_text() == (begun / name).read_text(), name


@pytest.mark.parametrize("train", [sft, dpo, grpo])
def test_an_end_that_the_model_has_no_weights_for_is_refused(train: Any, tmp_path: Path) -> None:
    begun = start(tmp_path / "start")
    tokenizer = AutoTokenizer.from_pretrained(begun)
    end = tokenizer.convert_tokens_to_ids(END)
    tiny_mistral(vocab_size=end).save_pretrained(begun)
    with pytest.raises(RecipeError) as refused:
        train(begun, tmp_path / "work")
    assert str(refused.value) == (
        f"`model_name_or_path`: its chat template ends turns with the token {end} (<|im_end|>), "
        f"and the model has {end}: save it with more (`resize_token_embeddings`), or give SFT "
        "another `chat_template`"
    )


def test_a_model_that_cannot_be_scored_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "prove", lambda *_: None)  # the problems are no fault here
    begun = start(tmp_path / "start")
    config = json.loads((begun / "config.json").read_text())
    kinds = ["linear_attention"] * config["num_hidden_layers"]
    (begun / "config.json").write_text(json.dumps(config | {"layer_types": kinds}))
    tuned = tuning(begun, SFTConfig(**quiet(tmp_path / "work")), problems="problems@data")
    with pytest.raises(RecipeError, match="layers of linear_attention are not sampled from"):
        tuned.trainer(PackedSFTTrainer, tuned.model())


def test_answers_are_scored_after_what_the_prompt_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = start(tmp_path / "start", templates.OPENS)
    thought = "well\n</think>\n\\boxed{12}"
    asked: list[str] = []

    def said(_: Any, __: Any, prompts: list[str], *___: Any) -> list[held_out.Completion]:
        asked.extend(prompts)
        return [held_out.Completion(thought, True)] * len(prompts)

    monkeypatch.setattr(held_out, "generate", said)
    row = {"problem": ["12?"], "answer": ["12"], "chain_prefix": ["<think>\nwell"]}
    problems = Dataset.from_dict(row)
    scores, _ = held_out.answers(begun, problems, "chain", samples=1, max_new_tokens=4, seed=0)
    assert (scores["accuracy"], scores["well_formed"]) == (1.0, 1.0)
    assert held_out.forced_chains(begun, problems, 4, "", None) == [1.0]
    assert asked[1] == asked[0] + "well"  # the thought is opened once
    assert asked[0].endswith("<|im_start|>assistant\n<think>\n")
    # GRPO's rewards read the same.
    opened = template.opened(AutoTokenizer.from_pretrained(begun))
    for name in ("math", "format"):
        turn = [[{"role": "assistant", "content": thought}]]
        assert rewards.for_trl(name, opened)(turn, answer=["12"]) == [1.0]
    assert rewards.for_trl("format")(turn, answer=["12"]) == [0.0]


def test_samples_end_at_each_end(tmp_path: Path) -> None:
    """Held-out answers end where the generation config says, too, not only at the EOS."""
    begun = start(tmp_path / "start", templates.ZEPHYR)
    model, tokenizer = held_out.load(begun)
    (longest,) = held_out.generate(model, tokenizer, ["12"], 6)
    with torch.no_grad():
        first = int(model(**tokenizer("12", return_tensors="pt")).logits[0, -1].argmax())
    model.generation_config.eos_token_id = [2, first]
    (ended,) = held_out.generate(model, tokenizer, ["12"], 6)
    assert (longest.ended, ended.ended) == (False, True)
    assert longest.text.startswith(ended.text)
