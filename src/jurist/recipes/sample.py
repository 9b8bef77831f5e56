"""Only the first step: k completions for each prompt, from one policy or a weighted mixture.

Start it with `jurist sample --prompts prompts.jsonl --policy hf:./checkpoint -k 4 --out run/`. `jurist label`
with the same settings and a judge goes on from there, and asks no policy again.
"""

from __future__ import annotations

from ..config import parse_money
from ..engines.journaled import open_budget
from ..errors import SettingError
from ..run import Run
from .label import collect, need_rows
from .settings import LabelConfig, check, expected_rows
from .stream import run_async
from .summary import Summary, calls_of, end_of
from .tally import Tally, Watch, nobody


def sample(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """A run that nobody judged yet: its prompts and completions, and who was dropped."""
    if not cfg.prompts or not cfg.policy:
        raise SettingError(
            "sampling needs prompts and a policy."
            " Try: jurist sample --prompts prompts.jsonl --policy openai:gpt-5-mini"
        )
    check(cfg)
    with Run(cfg.out, journal=cfg.journal) as run:
        budget = open_budget(parse_money(cfg.budget), run.journal)
        tally = Tally(budget, total=expected_rows(cfg))
        stopped, _ = run_async(collect(cfg, (), run, tally, watch), budget)
        need_rows(cfg, tally, stopped)
        summary = Summary(
            run=cfg.out,
            prompts=tally.rows,
            completions=tally.completions,
            dropped=dict(tally.dropped),
            **calls_of(tally),
            **end_of(stopped),
        )
        run.write_json("summary.json", summary)
    return summary
