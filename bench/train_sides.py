"""One side of a comparison, run in a process of its own: our trainers, TRL's, or one pass in one form.

Each runs as its users run it. `gate()` is called after every step, when the other side has its turn; what a
side returns is put beside the times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from train_work import MODELS, Lengths, Pair, equal_lengths, pairs

Gate = Callable[[], None]
Job = dict[str, Any]
COMMON = {"lr": 1e-4, "seed": 0}
BETA = 0.1


def rows_of(job: Job) -> list[Pair]:
    return pairs(job["lengths"], MODELS[job["model"]]["vocab_size"])


def ours(job: Job, gate: Gate) -> Job:
    """`train_reward` or `train_dpo`, from the rows to the saved model."""
    from jurist.models import dpo
    from jurist.models.reward import train_reward
    from jurist.models.settings import DpoConfig, RewardConfig
    from jurist.records import Completion, Preference, Prompt

    losses: list[float] = []

    def watch(progress: Any) -> None:
        losses.append(progress.metrics["loss"])
        gate()

    rows = []
    for number, (asked, chosen, rejected) in enumerate(rows_of(job)):
        prompt = Prompt.of(asked)
        sides = Completion.of(prompt.id, chosen), Completion.of(prompt.id, rejected)
        rows.append(Preference(str(number), prompt, *sides, p=1.0))
    settings = {
        **COMMON,
        "data": "rows",
        "base": job["base"],
        "out": job["out"],
        "batch": job["batch"],
        "schedule": "constant",
        "warmup": 0.0,
        "precision": job.get("precision", "float32"),
    }
    if job["method"] == "reward":
        train_reward(RewardConfig(**settings, centre=0.0), rows, watch)
        return {"losses": losses}
    with timed(dpo, "anchored") as anchor:
        dpo.train_dpo(DpoConfig(**settings, beta=BETA), rows, watch)
    return {"losses": losses, "anchor_s": anchor[0]}


def trl(job: Job, gate: Gate) -> Job:
    """The same with TRL: full precision, nothing recomputed, anchor log-probs computed once, no logging."""
    import transformers
    from datasets import Dataset, disable_progress_bars
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    disable_progress_bars()
    bf16 = job.get("precision") == "bfloat16"
    settings = {
        "output_dir": job["out"],
        "per_device_train_batch_size": job["batch"],
        "num_train_epochs": 1,
        "learning_rate": COMMON["lr"],
        "lr_scheduler_type": "constant",
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "max_length": 2048,
        "bf16": bf16,
        "use_cpu": not job.get("gpu", False),
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": COMMON["seed"],
        "train_sampling_strategy": job["sampling"],
        "remove_unused_columns": job["sampling"] != "group_by_length",
    }
    said = [
        {
            "prompt": [{"role": "user", "content": asked}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "length": prompt + max(first, second),
        }
        for (asked, chosen, rejected), (prompt, first, second) in zip(
            rows_of(job), job["lengths"], strict=True
        )
    ]
    data = Dataset.from_list([said[row] for row in job["order"]] if job["order"] else said)
    kinds = {"reward": (RewardTrainer, RewardConfig), "dpo": (DPOTrainer, DPOConfig)}
    trainer_class, config_class = kinds[job["method"]]
    dpo = {"beta": BETA, "precompute_ref_log_probs": True} if job["method"] == "dpo" else {}
    losses: list[float] = []

    class Watched(trainer_class):  # type: ignore[misc, valid-type]
        def compute_loss(self, *args: Any, **how: Any) -> Any:
            loss = super().compute_loss(*args, **how)
            losses.append(loss.item())
            return loss

    class Turns(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            gate()

    with timed(DPOTrainer, "_precompute_ref_logps") as anchor:
        trainer = Watched(
            model=job["base"], args=config_class(**settings, **dpo), train_dataset=data, callbacks=[Turns()]
        )
    trainer.train()
    trainer.save_model(job["out"])
    return {"losses": losses, **({"anchor_s": anchor[0]} if dpo else {})}


@contextmanager
def timed(where: Any, name: str) -> Iterator[list[float]]:
    """How much processor time is spent in a function, whoever calls it."""
    inner, spent = getattr(where, name), [0.0]

    def outer(*args: Any, **how: Any) -> Any:
        began = time.process_time()
        try:
            return inner(*args, **how)
        finally:
            spent[0] += time.process_time() - began

    setattr(where, name, outer)
    try:
        yield spent
    finally:
        setattr(where, name, inner)


def one_pass(job: Job, gate: Gate) -> Job:
    """Forward and backward over prompts with their answers, in one form; `auto` is what the trainers take."""
    from jurist.models.batch import Example
    from jurist.models.forward import answers_forward, choose
    from jurist.models.policy import load_policy

    policy = load_policy(job["base"], dtype="float32")
    vocabulary = MODELS[job["model"]]["vocab_size"]
    prompt, answer, answers = job["shape"]
    texts = pairs(equal_lengths(job["rows"] * answers, prompt, answer), vocabulary)
    examples = [
        Example(_ids(texts[start].prompt, prompt), [_ids(one.chosen, answer) for one in some])
        for start in range(0, len(texts), answers)
        for some in [texts[start : start + answers]]
    ]
    policy.model.train()
    losses = []
    for _ in range(job["steps"]):
        said = answers_forward(policy.model, examples, how=job["how"], head=job.get("head", "logprobs"))
        out = said.logprobs_AT if said.hidden_AD is None else said.hidden_AD
        loss = out.square().mean()
        loss.backward()
        policy.model.zero_grad()
        losses.append(loss.item())
        gate()
    return {"losses": losses, "form": choose(policy.model, examples) if job["how"] == "auto" else job["how"]}


def _ids(text: str, tokens: int) -> list[int]:
    """Token ids of a text without a template around it, filled up to so many."""
    ids = [5 + int(word[1:]) for word in text.split()]
    return (ids * 2)[:tokens] if len(ids) < tokens else ids


def drawing(job: Job, gate: Gate) -> Job:
    """Samples of prompts: each prompt read once for all of them, or once for each."""
    from jurist.models.drawing import draw
    from jurist.models.policy import load_policy

    policy = load_policy(job["base"], dtype="float32")
    prompt, tokens, samples = job["shape"]
    texts = pairs(equal_lengths(job["rows"], prompt, 8), MODELS[job["model"]]["vocab_size"])
    prompts = [_ids(one.prompt, prompt) for one in texts]
    keys = [str(number) for number in range(len(prompts))]
    if not job["once"]:
        prompts, keys = _each(prompts, samples), [f"{key}-{n}" for key in keys for n in range(samples)]
    for _ in range(job["steps"]):
        drawn = draw(
            policy.model,
            prompts,
            samples=samples if job["once"] else 1,
            max_tokens=tokens,
            end_ids=[],
            keys=keys,
        )
        gate()
    return {"tokens": sum(len(one.ids) for one in drawn)}


def _each(rows: Sequence[Any], times: int) -> list[Any]:
    return [row for row in rows for _ in range(times)]


SIDES: dict[str, Callable[[Job, Gate], Job]] = {
    "ours": ours,
    "trl": trl,
    "one_pass": one_pass,
    "drawing": drawing,
}


def take_part(connection: Any, job: Job) -> None:
    """What a process does: run its side, and between two steps wait until it is its turn again."""
    import os
    import resource

    import torch

    # What libraries say on the way is kept apart, and shown when a side fails.
    log = os.open(f"{job['out']}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.process_time()
    steps: list[float] = []

    def gate() -> None:
        nonlocal began
        steps.append(time.process_time() - began)
        connection.send("step")
        connection.recv()
        began = time.process_time()

    connection.recv()
    began = time.process_time()
    said = SIDES[job["side"]](job, gate)
    end_s = time.process_time() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    peak, base = (used.ru_maxrss / 1024 for used in (after, before))
    connection.send({"steps_s": steps, "end_s": end_s, "peak_mb": peak, "before_mb": base, **said})


def order_of(lengths: Sequence[Lengths], batch: int) -> list[int]:
    """The rows in the order in which our trainers take them, for a side that takes them as they come."""
    from jurist.models.batch import Example, steps

    examples = [Example([0] * p, [[0] * w, [0] * r]) for p, w, r in lengths]
    return [row for step in steps(examples, batch, COMMON["seed"]) for row in step]


def folder_for(root: Path, job: Job) -> str:
    return str(root / "-".join(map(str, (job["side"], job.get("method", ""), job["model"]))))
