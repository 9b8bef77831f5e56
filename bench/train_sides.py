"""One side of a comparison, run in a process of its own: our trainers, TRL's, or one pass in one form.

Each runs as its users run it. `gate()` is called after every step, when the other side has its turn; what a
side returns is put beside the times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from train_work import MODELS, Lengths, Pair, pairs

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
    from jurist.models.forward import planned
    from jurist.models.policy import load_policy

    policy = load_policy(job["base"], dtype="float32")
    examples = examples_of(job, *job["shape"])
    losses = []
    for _ in range(job["steps"]):
        losses.append(forward_and_backward(policy.model, examples, job["how"]))
        gate()
    return {"losses": losses, "form": planned(policy.model, examples)[0][0]}


def forms(job: Job, gate: Gate) -> Job:
    """The same in every form and for several shapes, and which form the trainers would take."""
    from jurist.models.forward import planned
    from jurist.models.policy import load_policy

    model = load_policy(job["base"], dtype="float32").model
    rows = []
    for shape in job["shapes"]:
        examples = examples_of(job, *shape)
        spent: dict[str, list[float]] = {form: [] for form in ("concat", "mask", "cache", "repeat")}
        for _ in range(1 + job["steps"]):
            for form, seconds in spent.items():
                began = time.process_time()
                forward_and_backward(model, examples, form)
                seconds.append(time.process_time() - began)
        best = {form: min(seconds[1:]) for form, seconds in spent.items()}
        rows.append({"shape": shape, "chosen": planned(model, examples)[0][0], **best})
    return {"rows": rows}


def forward_and_backward(model: Any, examples: Any, how: Any) -> float:
    from jurist.models.forward import answers_forward

    model.train()
    logprobs_AT = answers_forward(model, examples, how=how).logprobs_AT
    assert logprobs_AT is not None
    loss = logprobs_AT.square().mean()
    loss.backward()
    model.zero_grad()
    return float(loss)


def examples_of(job: Job, prompt: int, answer: int, answers: int) -> Any:
    """Random ids: so many prompts with so many answers each."""
    from jurist.models.batch import Example

    draw, top = random.Random(0), MODELS[job["model"]]["vocab_size"]

    def ids(tokens: int) -> list[int]:
        return [draw.randrange(5, top) for _ in range(tokens)]

    return [Example(ids(prompt), [ids(answer) for _ in range(answers)]) for _ in range(job["rows"])]


def drawing(job: Job, gate: Gate) -> Job:
    """Samples of prompts: each prompt read once for all of them, or once for each."""
    from jurist.models.drawing import draw
    from jurist.models.policy import load_policy

    policy = load_policy(job["base"], dtype="float32")
    prompt, tokens, samples = job["shape"]
    prompts = [example.prompt_ids for example in examples_of(job, prompt, 1, 1)]
    keys = [str(number) for number in range(len(prompts))]
    if not job["once"]:
        keys = [f"{key}-{n}" for key in keys for n in range(samples)]
        prompts = [prompt_ids for prompt_ids in prompts for _ in range(samples)]
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


SIDES: dict[str, Callable[[Job, Gate], Job]] = {
    "ours": ours,
    "trl": trl,
    "one_pass": one_pass,
    "forms": forms,
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

    def my_turn() -> float:
        connection.recv()
        if job["cores"]:
            os.sched_setaffinity(0, job["cores"])  # both sides on the same, whoever moved them meanwhile
        return clock()

    def clock() -> float:
        if not job.get("gpu"):
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def gate() -> None:
        nonlocal began
        steps.append(clock() - began)
        connection.send("step")
        began = my_turn()

    began = my_turn()
    said = SIDES[job["side"]](job, gate)
    end_s = clock() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    peak, base = (used.ru_maxrss / 1024 for used in (after, before))
    if job.get("gpu"):
        peak, base = torch.cuda.max_memory_allocated() / 2**20, 0.0
    connection.send({"steps_s": steps, "end_s": end_s, "peak_mb": peak, "before_mb": base, **said})


def order_of(lengths: Sequence[Lengths], batch: int) -> list[int]:
    """The rows in the order in which our trainers take them, for a side that takes them as they come."""
    from jurist.models.batch import Example, steps

    examples = [Example([0] * p, [[0] * w, [0] * r]) for p, w, r in lengths]
    return [row for step in steps(examples, batch, COMMON["seed"]) for row in step]
