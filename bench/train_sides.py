"""One side of the training benchmark, in a process of its own: Jurist, or TRL for the same rows.

The models are random Llamas, whose tokenizer has one token a word, and a pretrained Gemma 3 with a LoRA
adapter. After every step a side calls `gate()`, and the other one has its turn.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import peft
import tokenizers as tk
import torch
import transformers as hf
from datasets import Dataset, disable_progress_bars
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from jurist.models import settings as of
from jurist.models.dpo import train_dpo
from jurist.models.reward import train_reward
from jurist.models.sft import train_sft
from jurist.models.trainer import shuffled_steps
from jurist.policies.checkpoint import Lora
from jurist.policies.forward import form_for
from jurist.policies.policy import load_policy
from jurist.policies.tokens import Example
from jurist.policies.writer import Drawing, HFWriter
from jurist.records import Completion, Preference, Prompt

Gate = Callable[[], None]
Job = dict[str, Any]
Lengths = tuple[int, int, int]
"""Tokens of prompt, chosen and rejected."""
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else 'user' }}\n{{ m['content'] }}<end_of_turn>{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
AROUND_A_PROMPT, AFTER_AN_ANSWER = 3, 1
SIZES = {"5M": (256, 688, 4, 4096), "40M": (384, 1024, 8, 32_000)}
SHAPE = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
LLAMA_IDS = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
LORA = {"r": 8, "alpha": 16.0}
TRL = {
    "reward": (RewardTrainer, RewardConfig),
    "dpo": (DPOTrainer, DPOConfig),
    "sft": (SFTTrainer, SFTConfig),
}
RATE, BETA, FORMS = 1e-4, 0.1, ("concat", "masked", "prefilled")
hf.utils.logging.disable_progress_bar()
disable_progress_bars()


def tokenizer(vocabulary: int) -> Any:
    """One token a word."""
    words = [*SPECIAL, *(f"w{index}" for index in range(vocabulary - len(SPECIAL)))]
    ids = {word: at for at, word in enumerate(words)}
    inner = tk.Tokenizer(tk.models.WordLevel(ids, unk_token="<|pad|>"))
    inner.pre_tokenizer = tk.pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens(SPECIAL)
    named = {"eos_token": "<|end|>", "pad_token": "<|pad|>", "unk_token": "<|pad|>"}
    made = hf.PreTrainedTokenizerFast(tokenizer_object=inner, **named)
    made.chat_template = TEMPLATE
    return made


def checkpoint(folder: Path, model: str, kind: str, real: str) -> None:
    """A random Llama, with a reward head that is not zero; or the real model in the dtype of its name."""
    if model in SIZES:
        shape: dict[str, Any] = {**dict(zip(SHAPE, SIZES[model], strict=True)), "num_labels": 1, **LLAMA_IDS}
        shape |= dict.fromkeys(("num_attention_heads", "num_key_value_heads"), shape["hidden_size"] // 64)
        torch.manual_seed(0)
        made = hf.LlamaForSequenceClassification if kind == "reward" else hf.LlamaForCausalLM
        config = hf.LlamaConfig(max_position_embeddings=4096, tie_word_embeddings=False, **shape)
        made(config).save_pretrained(folder)
        words = tokenizer(shape["vocab_size"])
    else:
        dtype = getattr(torch, model.split()[-1])
        hf.AutoModelForCausalLM.from_pretrained(real, dtype=dtype).save_pretrained(folder)
        words = hf.AutoTokenizer.from_pretrained(real)
        words.chat_template = GEMMA_TEMPLATE
    words.save_pretrained(folder)


def texts(job: Job) -> list[tuple[str, str, str]]:
    """Prompt, chosen and rejected of random words; for the random models exactly as long as asked."""
    draw = random.Random(0)
    if job["model"] in SIZES:
        words = [f"w{index}" for index in range(SIZES[job["model"]][-1] - len(SPECIAL))]
    else:
        known = hf.AutoTokenizer.from_pretrained(job["base"]).get_vocab()
        words = sorted(one[1:] for one in known if one[0] == "▁" and one[1:].isascii() and one[1:].isalpha())
    extra = (AROUND_A_PROMPT, AFTER_AN_ANSWER, AFTER_AN_ANSWER)
    sizes = ([n - more for n, more in zip(row, extra, strict=True)] for row in job["lengths"])
    return [tuple(" ".join(draw.choices(words, k=n)) for n in row) for row in sizes]  # type: ignore[misc]


def ours(job: Job, gate: Gate) -> Job:
    """The trainer, from the rows to the saved model."""
    losses: list[float] = []

    def on_progress(progress: Any) -> None:
        losses.append(progress.metrics["loss"])
        gate()

    rows: list[Any] = []
    for number, (asked, *answers) in enumerate(texts(job)):
        prompt = Prompt.of(asked)
        chosen, rejected = (Completion.of(prompt.id, one) for one in answers)
        pair = Preference(str(number), prompt, chosen, rejected, p=1.0)
        rows.append((prompt, chosen) if job["method"] == "sft" else pair)
    shared: Job = {"data": "rows", "base": job["base"], "out": job["out"], "batch": job["batch"], "lr": RATE}
    shared |= {"lora": Lora(**LORA) if job["lora"] else None, "optim": of.OptimConfig("constant", 0.0)}
    shared |= {"model": of.ModelConfig(precision=job["precision"]), "save_every": 0}
    if job["method"] == "dpo":
        train_dpo(of.DpoConfig(**shared, beta=BETA), rows, on_progress)
    elif job["method"] == "sft":
        train_sft(of.SftConfig(**shared), rows, on_progress)
    else:
        train_reward(of.RewardConfig(**shared, centre=0.0), rows, on_progress)
    return {"losses": losses}


def trl(job: Job, gate: Gate) -> Job:
    """The same with TRL: nothing recomputed, the reference's log-probs computed once, no logging."""
    method, by_length = job["method"], job["sampling"] == "group_by_length"
    settings: Job = {"output_dir": job["out"], "per_device_train_batch_size": job["batch"]}
    settings |= {"learning_rate": RATE, "lr_scheduler_type": "constant", "adam_beta2": 0.95}
    settings |= {"num_train_epochs": 1, "max_length": 2048, "use_cpu": True, "weight_decay": 0.0}
    settings |= {"bf16": job["precision"] == "bfloat16", "gradient_checkpointing": False, "report_to": "none"}
    settings |= {"dataloader_pin_memory": False, "save_strategy": "no", "logging_strategy": "no"}
    settings |= {"train_sampling_strategy": job["sampling"], "remove_unused_columns": not by_length}
    if method == "dpo":
        settings |= {"beta": BETA, "precompute_ref_log_probs": True}
    names, rows = ("prompt", "completion") if method == "sft" else ("prompt", "chosen", "rejected"), []
    for some, lengths in zip(texts(job), job["lengths"], strict=True):
        roles = ("user", "assistant", "assistant")
        turns = [[{"role": role, "content": text}] for role, text in zip(roles, some, strict=True)]
        length = {"length": lengths[0] + max(lengths[1:])} if by_length else {}
        rows.append(dict(zip(names, turns, strict=False)) | length)
    order = our_order(job) if job["sampling"] == "sequential" else range(len(rows))
    trainer_class, config_class = TRL[method]
    losses: list[float] = []

    class Watched(trainer_class):  # type: ignore[misc, valid-type]
        def compute_loss(self, *args: Any, **how: Any) -> Any:
            loss = super().compute_loss(*args, **how)
            losses.append(loss.item())
            return loss

    class Turns(hf.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            gate()

    model, more = job["base"], {}
    if job["lora"]:
        kind: Any = "reward" if method == "reward" else "causal"
        model = load_policy(job["base"], kind=kind).model  # with the same head as ours, which is zero
        task = "SEQ_CLS" if method == "reward" else "CAUSAL_LM"
        adapter = {"r": LORA["r"], "lora_alpha": LORA["alpha"], "target_modules": "all-linear"}
        more["peft_config"] = peft.LoraConfig(task_type=task, **adapter)
    data = Dataset.from_list([rows[row] for row in order])
    wrap = peft.get_peft_model

    def seeded(*args: Any, **how: Any) -> Any:
        hf.set_seed(0)  # the adapter begins as ours does
        return wrap(*args, **how)

    more |= {"args": config_class(**settings), "train_dataset": data, "callbacks": [Turns()]}
    with patch.object(sys.modules[trainer_class.__module__], "get_peft_model", seeded):
        trainer = Watched(model, **more)
    trainer.train()
    trainer.save_model(job["out"])
    return {"losses": losses}


def our_order(job: Job) -> list[int]:
    """The rows in the order in which our trainers take them."""
    ends = 1 if job["method"] == "sft" else 2
    examples = [Example([0] * p, [[0] * one for one in answers[:ends]]) for p, *answers in job["lengths"]]
    return list(islice(chain.from_iterable(shuffled_steps(examples, job["batch"], 0)), len(examples)))


def rollouts(job: Job, gate: Gate) -> Job:
    """Samples through the Hugging Face writer, or as TRL's trainers sample without vLLM."""
    policy, draw, (prompt, samples, tokens) = load_policy(job["base"]).eval(), random.Random(0), job["shape"]
    prompts = [[draw.randrange(5, 4000) for _ in range(prompt)] for _ in range(2)]
    ids, model = torch.tensor([one for one in prompts for _ in range(samples)]), policy.model
    model.generation_config.eos_token_id = None  # nothing ends early, so that both write as much
    how = {"do_sample": True, "top_k": 0, "max_new_tokens": tokens, "pad_token_id": 0}
    for step in range(job["steps"]):
        if job["by"] == "ours":
            found = [
                *HFWriter(policy).write(prompts, samples, Drawing(tokens, ()), [f"{step} 0", f"{step} 1"])
            ]
            assert [len(one.ids) for one in found] == 2 * samples * [tokens]
        else:
            with torch.no_grad():
                whole = model.generate(ids, attention_mask=torch.ones_like(ids), **how)
            assert whole.shape == (2 * samples, prompt + tokens)
        gate()
    return {}


def forms(job: Job, _: Gate) -> Job:
    """Forward and backward of a prompt with its answers in each form, and the form that trainers take."""
    policy, draw = load_policy(job["base"], dtype="float32").train(), random.Random(0)
    found = {}
    for shape in job["shapes"]:
        prompt, answers, answer = map(int, shape.replace("+", " ").replace("x", " ").split())
        asked, *rest = ([draw.randrange(5, 4000) for _ in range(n)] for n in (prompt, *[answer] * answers))
        rows, spent = [Example(asked, rest)], dict[str, list[float]]()
        for form in (form for _ in range(1 + job["steps"]) for form in FORMS):
            began = time.process_time()
            policy(rows, form=form).logprobs_AT.square().mean().backward()
            policy.zero_grad()
            spent.setdefault(form, []).append(time.process_time() - began)
        best = {form: float(f"{min(seconds[1:]):.3g}") for form, seconds in spent.items()}
        found[shape] = {"chosen": form_for(policy.model, rows), **best}
    return {"forms": found}


def take_part(connection: Any, job: Job) -> None:
    """What a process does: run its side, and between two steps wait until it is its turn again."""
    # What libraries print on the way is kept apart, and shown when a side fails.
    log = os.open(f"{job['out']}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps: list[float] = []

    def my_turn() -> float:
        connection.recv()
        return time.process_time()

    def gate() -> None:
        nonlocal began
        steps.append(time.process_time() - began)
        connection.send("step")
        began = my_turn()

    began = my_turn()
    side = {"rollouts": rollouts, "forms": forms}.get(job["method"], ours if job["by"] == "ours" else trl)
    found = side(job, gate)
    end_s = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send({"steps_s": steps, "end_s": end_s, "mb": (peak - before) / 1024, **found})
