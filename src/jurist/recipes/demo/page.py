"""The demo's one page: a file that needs nothing beside it, for any width, in the dark, and on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...audits.report import drawing
from ...audits.report.page import templates
from ...run import write_whole
from ..lines import Share
from .outcome import DOMAINS, NAMES, Demo

CURVES: Final = {
    "reward": "reward",
    "kl_sequence": "KL to the start, nats an answer",
    "loss": "loss",
    "right": "labels it has right",
}


def write_page(found: Demo, folder: Path) -> None:
    """Beside the loop's other files, as `report.html`."""
    write_whole(folder / "report.html", rendered(found).encode())


def rendered(found: Demo) -> str:
    """Texts by models and people are escaped, whatever they hold."""
    room = templates(Path(__file__).parent)
    room.filters |= {"percent": percent, "width": width, "clock": seconds}
    return room.get_template("report.html.jinja").render(
        found=found,
        draw=drawing,
        names=NAMES,
        curves=CURVES,
        domains=DOMAINS,
        label=f"{found.run}/round-1/label",
    )


def percent(value: float) -> str:
    return f"{value:.1%}"


def width(share: Share) -> str:
    return f"{share.low:.1%} to {share.high:.1%}"


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"
