"""Only the first step: k completions for each prompt, from one policy or a weighted mixture.

Start it with `jurist sample --prompts prompts.jsonl --policy hf:./checkpoint -k 4 --out run/`. `jurist label`
with the same settings and a judge goes on from there, and asks no policy again.
"""

from __future__ import annotations

from typing import Any

from ..config import parse_money
from ..engines.caller import Caller, Purse
from ..engines.engine import Engine
from ..engines.open import open_engine
from ..errors import SettingError
from ..records import Completion, Dropped, Group, Prompt
from ..run import Run
from .label import need_keys, need_prices, need_rows, open_policies, read_rows, rows_under_way, sampled
from .settings import LabelConfig, expected_rows, recipe_text
from .stream import Stopped, in_order, run_async
from .summary import Summary, calls_of, end_of
from .tally import Tally, Watch, nobody


def sample(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """`prompts.jsonl` and `completions.jsonl` in the run folder."""
    if not cfg.prompts or not cfg.policies:
        raise SettingError(
            "sampling needs prompts and a policy."
            " Try: jurist sample --prompts prompts.jsonl --policy openai:gpt-5-mini"
        )
    with Run(cfg.out, journal=cfg.journal) as run:
        tally = Tally(Purse(parse_money(cfg.budget), run.journal.usd_before), total=expected_rows(cfg))
        stopped, dropped = run_async(_collect(cfg, run, tally, watch))
        need_rows(cfg, tally, stopped)
        summary = Summary(
            run=cfg.out,
            prompts=tally.rows,
            completions=tally.completions,
            dropped=dropped,
            **calls_of(tally),
            **end_of(stopped),
        )
        run.write_json("summary.json", summary)
    return summary


async def _collect(cfg: LabelConfig, run: Run, tally: Tally, watch: Watch) -> tuple[Stopped, dict[str, int]]:
    engines: list[Caller] = []

    def called(spec: str | dict[str, Any]) -> Engine:
        engines.append(Caller(open_engine(spec), run.journal, tally.purse))
        return engines[-1]

    stopped, reasons = Stopped(), dict[str, int]()
    lost: list[Dropped] = []
    try:
        policies = open_policies(cfg, called)
        need_keys(engines)
        need_prices(cfg, engines)
        run.write_text("recipe.yaml", recipe_text(cfg))

        async def work(row: Prompt | Group) -> tuple[Prompt, tuple[Completion, ...], list[Dropped]]:
            group, gone = await sampled(row, policies, cfg)
            return group.prompt, group.completions, gone

        with run.writing("prompts", "completions", "dropped") as files:
            rows = read_rows(cfg, lost.append)
            async for prompt, texts, gone in in_order(rows, work, rows_under_way(engines), stopped):
                files["prompts"].add(prompt)
                for text in texts:
                    files["completions"].add(text)
                _drop((*lost, *gone), files["dropped"], reasons)
                lost.clear()
                tally.rows += 1
                tally.completions += len(texts)
                watch(tally)
            _drop(tuple(lost), files["dropped"], reasons)
    finally:
        for engine in engines:
            await engine.close()
    return stopped, reasons


def _drop(rows: tuple[Dropped, ...], file: Any, reasons: dict[str, int]) -> None:
    for row in rows:
        file.add(row)
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
