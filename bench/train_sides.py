"""One side of the training benchmark, in a process of its own: Jurist, or TRL for the same rows.

The models are random Llamas, whose tokenizer has one token a word, and a pretrained Gemma 3 with a LoRA
adapter. A side calls `gate()` after every step. `bench/gpu.py` has the same sides on a GPU.
"""

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
from zlib import crc32

import peft
import tokenizers as tk
import torch
import transformers as hf
import trl as peer
from datasets import Dataset, disable_progress_bars

from jurist.models import settings as of
from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.models.sft import train_sft
from jurist.models.trainer import shuffled_steps
from jurist.policies.checkpoint import Lora
from jurist.policies.forward import form_for
from jurist.policies.policy import load_policy
from jurist.policies.tokens import Example, tokenise_many
from jurist.policies.writer import Drawing, HFWriter
from jurist.records import Completion, Preference, Prompt

Gate = Callable[..., None]
"""Gets the losses so far, if any."""
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
DEFAULTS: Job = {"sampling": "sequential", "precision": "float32", "lora": None, "lr": 1e-4, "epochs": 1}
DEFAULTS |= {"checkpointing": False, "gpu": False}
"""Of the settings of a job."""
SIZES = {"5M": (256, 688, 4, 4096), "40M": (384, 1024, 8, 32_000)}
SIZES |= {"1B": (2048, 5632, 22, 32_000), "7B": (4096, 11008, 32, 32_000)}
SIZES |= {"tiny 1B": (128, 352, 2, 1024), "tiny 7B": (192, 512, 2, 1024)}
"""Those of billions of weights are made in bfloat16, on the GPU if there is one."""
SHAPE = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
LLAMA_IDS = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
LORA = {"r": 8, "alpha": 16.0}
KL = 1e-6
"""Of GRPO: enough for both sides to compute the reference, too little to change the reward."""
KINDS = ("SFT", "Reward", "DPO")
TRL = {one.lower(): (getattr(peer, f"{one}Trainer"), getattr(peer, f"{one}Config")) for one in KINDS}
BETA, FORMS = 0.1, ("concat", "masked", "prefilled")
hf.utils.logging.disable_progress_bar()
disable_progress_bars()


def words_of(vocabulary: int) -> list[str]:
    return [f"w{index}" for index in range(vocabulary - len(SPECIAL))]


def tokenizer(vocabulary: int) -> Any:
    """One token a word."""
    ids = {word: at for at, word in enumerate(SPECIAL + words_of(vocabulary))}
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
        heads = shape["hidden_size"] // max(64, shape["hidden_size"] // 32)
        shape |= dict.fromkeys(("num_attention_heads", "num_key_value_heads"), heads)
        torch.manual_seed(0)
        kind_of = hf.AutoModelForSequenceClassification if kind == "reward" else hf.AutoModelForCausalLM
        config = hf.LlamaConfig(max_position_embeddings=4096, tie_word_embeddings=False, **shape)
        billions = model.endswith("B")
        with torch.device("cuda" if billions and torch.cuda.is_available() else "cpu"):
            made = kind_of.from_config(config, dtype=torch.bfloat16 if billions else torch.float32)
        words = tokenizer(shape["vocab_size"])
    else:
        made = hf.AutoModelForCausalLM.from_pretrained(real, dtype=getattr(torch, model.split()[-1]))
        words = hf.AutoTokenizer.from_pretrained(real)
        words.chat_template = GEMMA_TEMPLATE
    made.save_pretrained(folder, max_shard_size="2GB")
    words.save_pretrained(folder)


def pairs(job: Job) -> list[tuple[Prompt, str, str]]:
    """Prompt, chosen and rejected: the job's, or random words, exactly as long as asked."""
    if "pairs" in job:
        return list(job["pairs"])
    draw, words, found = random.Random(0), words_of(SIZES[job["model"]][-1]), []
    for prompt, *answers in job["lengths"]:
        sizes = (prompt - AROUND_A_PROMPT, *(answer - AFTER_AN_ANSWER for answer in answers))
        asked, one, other = (" ".join(draw.choices(words, k=n)) for n in sizes)
        found.append((Prompt.of(asked), one, other))
    return found


def skewed(count: int, prompt: tuple[int, float, int], answer: tuple[int, float, int]) -> list[Lengths]:
    """Log-normal lengths: of prompt and answers the median, the spread and the most."""
    draw = random.Random(0)

    def one(middle: int, spread: float, most: int) -> int:
        return min(most, max(8, round(middle * draw.lognormvariate(0, spread))))

    return [(one(*prompt), one(*answer), one(*answer)) for _ in range(count)]


def ours(job: Job, gate: Gate) -> Job:
    """Jurist's trainer, from the rows to the saved model."""
    losses: list[float] = []

    def on_progress(progress: Any) -> None:
        if not progress.doing:  # a step is done
            losses.append(progress.metrics["grad_norm" if job["method"] == "grpo" else "loss"])
            gate(losses)

    rows: list[Any] = []
    for number, (prompt, *answers) in enumerate(pairs(job)):
        chosen, rejected = (Completion.of(prompt.id, one) for one in answers)
        pair = Preference(str(number), prompt, chosen, rejected, p=1.0)
        rows.append({"sft": (prompt, chosen), "grpo": prompt}.get(job["method"], pair))
    model = {name: job[name] for name in ("precision", "attention", "checkpointing") if name in job}
    names = ("base", "out", "batch", "lr", "epochs", "tokens")
    shared: Job = {"data": "rows", "save_every": 0, **{name: job[name] for name in names if name in job}}
    shared |= {"lora": Lora(**job["lora"]) if job["lora"] else None, "optim": of.OptimConfig("constant", 0.0)}
    shared["model"] = of.ModelConfig(**model)
    if job["method"] == "grpo":
        shared["optim"] = of.PpoOptimConfig("constant", 0.0, passes=1)
        rollout = of.RolloutConfig(job["samples"], job["max_tokens"], writer="vllm" if job["vllm"] else "hf")
        cfg = of.PPOConfig(**shared, advantage="grpo", rollout=rollout, kl=of.KlConfig(KL))
        train_ppo(cfg, rows, lambda _, texts: [score(one.text) for one in texts], on_progress)
    elif job["method"] == "dpo":
        train_dpo(of.DpoConfig(**shared, beta=BETA), rows, on_progress)
    elif job["method"] == "sft":
        train_sft(of.SftConfig(**shared), rows, on_progress)
    else:
        train_reward(of.RewardConfig(**shared, centre=0.0), rows, on_progress)
    return {"losses": losses}


def trl(job: Job, gate: Gate, *watching: type) -> Job:
    """The same with TRL: the reference's log-probs computed once, and nothing logged but GRPO's norms."""
    method, by_length = job["method"], job["sampling"] == "group_by_length"
    step = job["batch"] * (job["samples"] if method == "grpo" else 1)
    part = job.get("micro", step)
    settings: Job = {"output_dir": job["out"], "use_cpu": not job["gpu"], "learning_rate": job["lr"]}
    settings |= {"per_device_train_batch_size": part, "gradient_accumulation_steps": step // part}
    settings |= {"lr_scheduler_type": "constant", "adam_beta2": 0.95, "weight_decay": 0.0}
    settings |= {"num_train_epochs": job["epochs"], "bf16": job["precision"] == "bfloat16"}
    settings |= {"gradient_checkpointing": job["checkpointing"], "report_to": "none"}
    settings |= {"dataloader_pin_memory": False, "save_strategy": "no", "logging_strategy": "no"}
    names: tuple[str, ...] = ("prompt", "completion") if method == "sft" else ("prompt", "chosen", "rejected")
    if method == "grpo":
        names, length = ("prompt",), job["max_tokens"]
        settings |= {"num_generations": job["samples"], "max_completion_length": length, "beta": KL}
        settings |= {"shuffle_dataset": False, "logging_strategy": "steps", "logging_steps": 1}
        settings |= {"use_vllm": job["vllm"], "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.33}
        settings["vllm_importance_sampling_correction"] = False  # ours has none either
    else:
        settings |= {"train_sampling_strategy": job["sampling"], "remove_unused_columns": not by_length}
        settings["max_length"] = 2048
    if method == "dpo":
        settings |= {"beta": BETA, "precompute_ref_log_probs": True}
    rows = []
    for number, (prompt, *answers) in enumerate(pairs(job)):
        asked = [{"role": one.role, "content": one.content} for one in prompt.messages]
        turns = [asked, *([{"role": "assistant", "content": one}] for one in answers)]
        row: Job = dict(zip(names, turns, strict=False))
        if by_length:
            row["length"] = job["lengths"][number][0] + max(job["lengths"][number][1:])
        rows.append(row)
    order = our_order(job) if job["sampling"] == "sequential" else range(len(rows))
    # Importing GRPO's loads vLLM, if it is installed.
    trainer_class, config_class = TRL.get(method) or (peer.GRPOTrainer, peer.GRPOConfig)
    losses: list[float] = []

    class Watched(*watching, trainer_class):  # type: ignore[misc, valid-type]
        def compute_loss(self, *args: Any, **how: Any) -> Any:
            loss = super().compute_loss(*args, **how)
            losses.extend([loss.item()] if method != "grpo" else [])
            return loss

    class Turns(hf.TrainerCallback):
        def on_log(self, *_: Any, logs: Job, **__: Any) -> None:
            losses.extend([logs["grad_norm"]] if "grad_norm" in logs else [])

        def on_step_end(self, *_: Any, **__: Any) -> None:
            gate(losses)

    model, more = job["base"], {}
    kind: Any = "reward" if method == "reward" else "causal"
    if job["lora"] or "attention" in job:  # with the same head as ours, which is zero
        dtype: Any = "auto" if job["lora"] else "float32"
        model = load_policy(job["base"], kind=kind, dtype=dtype, attention=job.get("attention", "auto")).model
    if job["lora"]:
        task = "SEQ_CLS" if kind == "reward" else "CAUSAL_LM"
        adapter = {"r": job["lora"]["r"], "lora_alpha": job["lora"]["alpha"], "target_modules": "all-linear"}
        more["peft_config"] = peft.LoraConfig(task_type=task, **adapter)
    if method == "grpo":
        more["reward_funcs"] = lambda completions, **_: [score(one[0]["content"]) for one in completions]
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


def score(text: str) -> float:
    """A reward as good as random, but always the same for the same text."""
    return crc32(text.strip().encode()) / 2**32


def our_order(job: Job) -> list[int]:
    """The rows in the order in which our trainers take them."""
    most = 1 if job["method"] == "sft" else 2
    rows = ((asked, [Completion.of(asked.id, one) for one in some[:most]], {}) for asked, *some in pairs(job))
    examples = [*tokenise_many(rows, hf.AutoTokenizer.from_pretrained(job["base"]))]
    return list(islice(chain.from_iterable(shuffled_steps(examples, job["batch"], 0)), len(examples)))


def rollouts(job: Job, gate: Gate) -> Job:
    """Samples through the Hugging Face writer, or as TRL's trainers sample without vLLM."""
    policy, draw, (prompt, samples, tokens) = load_policy(job["base"]).eval(), random.Random(0), job["shape"]
    prompts = [[draw.randrange(5, 4000) for _ in range(prompt)] for _ in range(2)]
    ids, model = torch.tensor([one for one in prompts for _ in range(samples)]), policy.model
    model.generation_config.eos_token_id = None  # nothing ends early, so that both write as many tokens
    how = {"do_sample": True, "top_k": 0, "max_new_tokens": tokens, "pad_token_id": 0}
    for step in range(job["steps"]):
        if job["by"] == "ours":
            keys = [f"{step} 0", f"{step} 1"]
            found = HFWriter(policy).write(prompts, samples, Drawing(tokens, ()), keys)
            assert [len(one.ids) for one in found] == 2 * samples * [tokens]
        else:  # `generate` is under no_grad by itself
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
    before, steps = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, list[float]()

    def gate(*_: Any) -> None:
        nonlocal began
        steps.append(time.process_time() - began)
        connection.send("step")
        connection.recv()
        began = time.process_time()

    connection.recv()
    began = time.process_time()
    side = {"rollouts": rollouts, "forms": forms}.get(job["method"], ours if job["by"] == "ours" else trl)
    found = {"steps_s": steps, **side(job, gate)}
    found["end_s"] = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send({**found, "mb": (peak - before) / 1024})
