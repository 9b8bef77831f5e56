"""Settings with which each recipe works in the tiny world, where a model learns a thousand times as fast as
a large one; and what stands in their place for models of one's own.
"""

from __future__ import annotations

from typing import Any, Final

_SHORT: Final = {"max_tokens": 48}
_JUDGE: Final = {"engine": "tiny:planted", "extra": {"position": 1.0, "length": 0.05}}
"""A taste for the first seat, and for each word more than the other has."""
_REWARD: Final = {"lr": 1e-3, "epochs": 3, "batch": 32}
_PPO: Final = {"lr": 3e-4, "value_lr": 1e-3, "batch": 24, "max_tokens": 48}

SMALL: Final[dict[str, dict[str, Any]]] = {
    "rlaif": {
        "out": "runs/rlaif",
        "prompts": "tiny:280",
        "policy": "tiny",
        "sampling": _SHORT,
        "compare": {"judge": "tiny:oracle", "held_out": 0.4},
        "judge": {"engine": _JUDGE},
        "reward_model": _REWARD,
        "ppo": {**_PPO, "epochs": 4},
        "dpo": {"lr": 1e-3, "epochs": 4, "batch": 32},
    },
    "constitutional": {
        "out": "runs/constitutional",
        "prompts": "tiny:600",
        "policy": "tiny",
        "sampling": _SHORT,
        "compare": {"judge": "tiny:oracle", "held_out": 0.1},
        "red_team": ["wishes"],
        "revise": {"times": 2},
        "sft": {"lr": 1e-3, "epochs": 3, "batch": 32},
        "rl": {
            "judge": {"kind": "constitution", "engine": "tiny:planted"},
            "reward_model": _REWARD,
            "ppo": _PPO,
        },
    },
    "rejection": {
        "out": "runs/rejection",
        "prompts": "tiny:480",
        "policy": "tiny",
        "sampling": _SHORT,
        "rounds": 3,
        "compare": {"judge": "tiny:oracle", "held_out": 0.5},
        "judge": {"kind": "pointwise", "engine": "tiny:planted"},
        "reward_model": _REWARD,
        "candidates": {"reference": False, "longest": 0},
        "sft": {"lr": 1e-3, "epochs": 10, "batch": 32},
    },
    "self_rewarding": {
        "out": "runs/self-rewarding",
        "prompts": "tiny:480",
        "policy": "tiny",
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 48},
        "rounds": 3,
        "compare": {"judge": "tiny:oracle", "held_out": 0.5},
        "stop": {"lost": 0.6},
        "judge": {"kind": "pointwise", "additive": True},
        "watched": 200,
        "dpo": {"lr": 3e-4, "epochs": 2, "batch": 32, "soft": False},
    },
}
"""As in the files of the repository's `recipes/`, which say why."""

YOURS: Final = {
    "prompts": "prompts.jsonl",
    "policy": "Qwen/Qwen3-0.6B",
    "judge": "openai:gpt-4.1-mini",
    "compare.judge": "anthropic:claude-haiku-4-5",
    "rl.judge": "{kind: constitution, engine: 'openai:gpt-4.1-mini'}",
    "red_team": "[red_team]",
}
"""Examples; for what is not here, the default."""
