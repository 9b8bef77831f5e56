"""What to type next, about what is at hand: findings speak of RUN, and a file is none."""

from __future__ import annotations

import re
from typing import Final

from .cost import NO_PRICE

_SETTING: Final = re.compile(r"--(?:judge|prefer)\b")


def about_run(advice: str, path: str) -> str:
    return advice.replace(" RUN", f" {path}")


def about_file(advice: str, path: str) -> str:
    """A file can be looked into, labelled by people and audited; settings are those of judging it anew."""
    if advice == NO_PRICE:
        return "Add a column: usd"
    anew = f"jurist label --pairs {path} --judge ENGINE"
    advice = advice.replace(": jurist show RUN --unread", f" in {path}")
    advice = advice.replace("jurist export RUN", anew).replace("--pairs FILE", f"--pairs {path}")
    if _SETTING.search(advice) and anew not in advice:
        advice = f"{advice.rstrip('.')}. Such settings are given to: {anew}"
    return about_run(advice, path)
