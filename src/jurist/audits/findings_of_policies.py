"""The words of the audits that compare policies; the rest of the table is `findings.py`."""

from __future__ import annotations

from typing import Any, Final

from .finding import ChartWords, Kind, Missing, Rule
from .rules import by_facts, far_from, reported, too_high, too_low

# A loop that has lost a tenth of its diversity contracts (Alemohammad et al. 2023); one ends at a quarter (`stop.lost`).
A_TENTH: Final = far_from(0.0, 0.10, only="above")
KEEP_VARIED: Final = (
    "mix in more rows that humans wrote: `jurist run {recipe} --out NEW --real.file FILE --real.share 0.5`",
    "sample warmer: `jurist run {recipe} --out NEW --sampling.temperature 1.2`",
    "use the policy of an earlier round",
)


def _loss(title: str, what: str, rule: Rule = A_TENTH, **more: Any) -> Kind:
    says = f"{what} {{sign:fell|rose}} from {{before:.3f}} ({{first}}) to {{after:.3f}} ({{about}}): {{size}} {{sign:less|more}} ({{interval}}, {{n:prompt}})."
    return Kind(title, says, rule, KEEP_VARIED, fair=0.0, **more)


DIVERSITY: Final = {
    "diversity.distinct_2": _loss(
        "Different word pairs",
        "The share of different word pairs",
        chart=ChartWords(
            "Diversity left of that of the initial policy", "round", "left", 0.9, "a tenth lost", "lines"
        ),
        missing={
            "one_round": Missing(
                "No round has answered the held-out prompts yet.",
                "Go on: `jurist run {recipe} --out {source}`",
            ),
            "few_prompts": Missing(
                "Both policies answered {prompts:prompt} that were held out; it takes {fewest}.",
                "Hold out more: `jurist run {recipe} --out NEW --compare.held_out 0.2`",
            ),
        },
    ),
    "diversity.unique": _loss(
        "Different answers to a prompt", "The share of different answers to the same prompt"
    ),
    "diversity.self_bleu": _loss(
        "Wording of answers to a prompt", "1 - self-BLEU among answers to the same prompt"
    ),
    "diversity.compression": _loss(
        "Compression", "The share of bytes that compression leaves of as much text"
    ),
    # Among a few hundred answers it is the coarsest of the measures.
    "diversity.recall": _loss(
        "Range of meanings",
        "The share of the initial policy's answers that have a near one",
        far_from(0.0, 0.20, only="above"),
    ),
    "diversity.refusals": Kind(
        "Refusals",
        "The share of answers that open by declining {sign:rose|fell} from {before:%} ({first}) to {after:%} ({about}): by {size} ({interval}, {n:prompt}).",
        far_from(0.0, 0.10, "points", only="above"),
        ("read some: `head -3 {source}/{folder}/held_out.jsonl`",),
        "points",
        fair=0.0,
    ),
    "diversity.synthetic": Kind(
        "Rows written by models",
        "Models wrote {value} of the rows that {about} learnt from; the rounds before it learnt from models too.",
        too_high(0.7, 1.0),
        (
            "keep a share of rows that humans wrote in every round: `jurist run {recipe} --out NEW --real.file FILE --real.share 0.3`",
        ),
    ),
}

OVEROPTIMISATION: Final = {
    "overoptimisation.fallen": Kind(
        "Fall of the win rate",
        "Against the initial policy, `compare.judge` gave {earlier} a win rate of {then:%} and {about} one of {now:%}: {size} {sign:less|more} ({interval}, allowing for {looked:comparison})[, while the proxy went from {proxy_then:.3g} to {proxy_now:.3g}].",
        by_facts(
            {
                "fell": ("alarm", "significantly below an earlier policy"),
                "proxy_fell": ("warning", "significantly below an earlier policy; the proxy fell too"),
            },
            "not significantly below an earlier policy",
        ),
        (
            "use the policy of {use} (KL {kl:.3g}), and hold the next one nearer to the initial policy (`ppo.kl.beta`, `dpo.beta`)",
        ),
        "points",
        fair=0.0,
        chart=ChartWords(
            "Win rate by distance from the initial policy",
            "square root of the KL, in nats a completion",
            "win rate",
            0.5,
            "the initial policy",
            "lines",
        ),
        missing={
            "not_compared": Missing(
                "No judge from outside compared the rounds' policies with the initial one.",
                "Name one that is not trained on: `jurist run {recipe} --out NEW --compare.judge ENGINE`",
            )
        },
    ),
    "overoptimisation.peak": Kind(
        "Forecast peak",
        "[?turns|A curve through the rounds (Gao et al. 2022) has its peak at a KL of {value} nats a completion ({interval}); {about} is at {kl:.3g}.][?rises|A curve through the rounds (Gao et al. 2022) rises up to {about}, at a KL of {kl:.3g} nats a completion.]",
        reported,
        unit="number",
        missing={
            "few_rounds": Missing(
                "A forecast takes 3 rounds that were compared with the initial policy; there are {rounds:round}.",
                "Go on: `jurist run {recipe} --out {source} --rounds 4`",
            )
        },
    ),
    "overoptimisation.best_of_n": Kind(
        "Best of n",
        "The best of {k} answers by {judge} is worth {size} {sign:more|less} to {other} than the best of {half} ({interval}), and {gain:+.3g} over an answer at random (KL {kl:.2f}, {n:prompt}).",
        too_low(0.0, 0.0, "number"),
        ("choose among {half}: `{again} -k {half}`", "let both judges score: a jury of them"),
        "number",
        chart=ChartWords(
            "What {other} makes of the best by {judge}",
            "answers chosen from",
            "score over one at random",
            kind="lines",
            unit="number",
        ),
    ),
}

WIN_RATES: Final = {
    "length.controlled": Kind(
        "Length-controlled win rate",
        "{judge} beats {baseline} in {raw:%} of {n:prompt} as judged, and between answers of equal length in {controlled:%} (95% interval {low:%} to {high:%}): length accounts for {value} ({interval}).",
        # Where AlpacaEval warns of a baseline.
        far_from(0.0, 0.1, "points", unless={"policy": ("warning", "it says nothing of the labels")}),
        ("report the win rate at equal length, {controlled:%}",),
        "points",
        fair=0.0,
        chart=ChartWords(
            "Win rate against {baseline}", y="win rate", mark=0.5, marked="as good", together=True
        ),
        missing={
            "too_few": Missing(
                "{judge} met {baseline} on {prompts:prompt}: too few to correct its win rate for length.",
                "Compare the two on more prompts",
            ),
            "never_lost": Missing(
                "{judge} won against {baseline} on each of {prompts:prompt}: nothing shows what length did."
            ),
            "never_won": Missing(
                "{judge} lost to {baseline} on each of {prompts:prompt}: nothing shows what length did."
            ),
            "no_difficulty": Missing(
                "The win rate of {judge} over {baseline} is not corrected for length: how hard a prompt is shows in other policies' matchups on it, and there are {others:.1f} of the {wanted:.0f} it takes.",
                "Compare more policies with {baseline} on the same prompts",
            ),
        },
    ),
}
