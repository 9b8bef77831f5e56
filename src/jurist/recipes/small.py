"""Settings with which each recipe works in the tiny world, where a model learns a thousand times as fast as
a large one; and what stands in their place for models of one's own.
"""

from __future__ import annotations

from typing import Any, Final

_START: Final[dict[str, Any]] = {
    "prompts": "tiny:280",
    "policy": "tiny",
    "sampling": {"max_tokens": 48},
    "compare": {"judge": "tiny:oracle", "held_out": 0.4},
}
_JUDGE: Final = {"engine": "tiny:planted", "extra": {"position": 1.0, "length": 0.05}}
"""A taste for the first seat, and for each word more than the other has."""
_SFT: Final = {"lr": 1e-3, "epochs": 3, "batch": 32}
_REWARD: Final = {"lr": 1e-3, "epochs": 3, "batch": 32}
_PPO: Final = {"lr": 3e-4, "batch": 24, "epochs": 4, "max_tokens": 48, "value_lr": 1e-3}
_DPO: Final = {"lr": 1e-3, "batch": 32, "epochs": 4}

SMALL: Final[dict[str, dict[str, Any]]] = {
    "rlaif": {
        **_START,
        "out": "runs/rlaif",
        "judge": {"engine": _JUDGE},
        "reward_model": _REWARD,
        "ppo": _PPO,
        "dpo": _DPO,
    },
    "constitutional": {
        **_START,
        "out": "runs/constitutional",
        "red_team": ["wishes"],
        "sft": _SFT,
        "rl": {
            "judge": {"kind": "constitution", "engine": "tiny:planted"},
            "reward_model": _REWARD,
            "ppo": _PPO,
            "dpo": _DPO,
        },
    },
    "rejection": {
        **_START,
        "out": "runs/rejection",
        "rounds": 3,
        "judge": {"engine": _JUDGE},
        "sft": _SFT,
        "reward_model": _REWARD,
    },
    "self_rewarding": {**_START, "out": "runs/self_rewarding", "rounds": 3, "dpo": _DPO},
}

YOURS: Final = {
    "prompts": "prompts.jsonl",
    "policy": "Qwen/Qwen3-0.6B",
    "judge": "openai:gpt-4.1-mini",
    "compare.judge": "anthropic:claude-haiku-4-5",
    "rl.judge": "{kind: constitution, engine: 'openai:gpt-4.1-mini'}",
    "red_team": "[red_team]",
}
"""Examples; for what is not here, the default."""
