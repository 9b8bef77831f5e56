"""One training by name, as `jurist train` does it: where the model goes, and what to type with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Any, Final

from msgspec.structs import replace

from ..errors import MissingExtra, RunError
from ..models.settings import check
from .lines import named

SAMPLE: Final = "jurist sample --prompts FILE --policy hf:{model}"
TRAINERS: Final = {
    "sft": ("sft:train_sft", "jurist train dpo RUN --base {model}"),
    "reward": ("reward:train_reward", "jurist label --pairs FILE --judge reward:{model}"),
    "dpo": ("dpo:train_dpo", SAMPLE),
    "ppo": ("ppo:train_ppo", SAMPLE),
    "rloo": ("ppo:train_ppo", SAMPLE),
}
"""Who trains, in `models`, and what to type with the model."""
EXTRA: Final = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "huggingface_hub")
SHOWN: Final = ("loss", "right", "reward", "kl_sequence", "tokens", "failed")


def train(method: str, cfg: Any, watch: Callable[[Any], None]) -> Path:
    """The folder of the trained model. What torch and its family raise gets a line of ours only here."""
    check(cfg, method)
    cfg = cfg if cfg.out else replace(cfg, out=str(beside(cfg.data) / method))
    module, _, name = TRAINERS[method][0].partition(":")
    try:
        folder: Path = getattr(import_module(f"jurist.models.{module}"), name)(cfg, watch=watch)
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        raise MissingExtra("training", package, "train") from None
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise RunError(
            f"the GPU's memory does not hold {cfg.tokens:,} tokens at once."
            f" Set: --tokens {max(1, cfg.tokens // 4)}, and if that is not enough --checkpointing"
        ) from None
    return folder


def beside(data: str) -> Path:
    """Models of a run lie in the run, those of a file beside it, those of a set on the hub here."""
    if data.startswith("hub:"):
        return Path(data.rpartition("/")[2].partition(":")[0])
    path = Path(data)
    if path.is_dir():
        return path / "models"
    name = path.name.partition(".")[0]
    return path.with_name(name if name and name != path.name else f"{path.name}-models")


def training_lines(method: str, facts: dict[str, Any]) -> Iterator[str]:
    """What a training came to, from `training.json` and the model's folder."""

    def numbers(metrics: dict[str, float]) -> str:
        return " · ".join(f"{name} {metrics[name]:.4g}" for name in SHOWN if name in metrics)

    steps = f"{facts['steps']:,} step{'s' * (facts['steps'] != 1)}"
    rows = "prompts" if method in ("ppo", "rloo") else "rows"
    equal, held_out = facts.get("compare_nothing", 0), facts["held_out"]
    return named(
        (
            ("trained", f"{facts['rows']:,} {rows} in {steps}"),
            ("dropped", ", ".join(f"{reason} {n:,}" for reason, n in facts["dropped"].items())),
            ("equal", f"{equal:,} rows: p is 0.5, or both answers are the same" if equal else ""),
            ("last step", numbers(facts["metrics"])),
            ("held out", f"{numbers(held_out)} ({held_out.get('rows', 0):,} rows)" if held_out else ""),
            ("model", facts["model"]),
            ("next", TRAINERS[method][1].format(model=quote(facts["model"]))),
        ),
        11,
    )
