"""Does a policy that learnt nothing ever beat the tiny world's initial policy?

Nulls: every constant answer of the corpus (and the best of them joined), an opening put before the policy's
own answers, the question copied, the longest of its answers, empty phrases added, every noun named. Each is
set against one answer of the initial policy to held-out questions. The constant is chosen on the very
questions it is marked on, to its advantage. Beside them stand the same policy drawn again, which has a half
by construction, the same at temperature 0, and a scripted assistant that does well.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Sequence

from evidence import interval, record
from jurist.tiny.answers import GOOD, MEDIOCRE, compose, null_wins, won
from jurist.tiny.world import prompts, true_score
from small_world import ANSWERS, held_out, initial, request, write

QUESTIONS, SEED, SCREENED = 2000, 20, 400


def best_constant(rows: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """The best of all constants, and among how many."""

    def wins(text: str, among: Sequence[tuple[str, str]]) -> float:
        return statistics.fmean(won(true_score(q, text) - true_score(q, answer)) for q, answer in among)

    draw = random.Random(SEED)
    found = {
        compose(request(one), habits, draw) for one in prompts(3000, SEED) for habits in (MEDIOCRE, GOOD)
    }
    few = rows[:SCREENED]
    ranked = sorted(found, key=lambda text: -wins(text, few))
    # The domains come in turn: the best of each.
    parts = {*ranked[:6], *(max(found, key=lambda text: wins(text, few[at::4])) for at in range(4))}
    joined = {" ".join(some) for n in (2, 3) for some in itertools.permutations(sorted(parts), n)}
    joined |= {one.replace(". ", ", ") for one in joined}
    ranked = sorted({*ranked[:40], *joined}, key=lambda text: -wins(text, few))[:60]
    return max(ranked, key=lambda text: wins(text, rows)), len(found) + len(joined)


def main() -> None:
    asked = held_out(QUESTIONS, SEED)
    requests = [request(one) for one in asked]
    answers = write(initial(), asked, ANSWERS, SEED).texts
    greedy = [text for [text] in write(initial(), asked, temperature=0.0).texts]
    rows = [(question, first, own) for question, [first, *own] in zip(requests, answers, strict=True)]
    found = {name: interval(wins) for name, wins in null_wins(rows).items()}
    constant, searched = best_constant([row[:2] for row in rows])

    def against(texts: Sequence[str]) -> tuple[float, float, float]:
        scored = zip(rows, texts, strict=True)
        return interval([won(true_score(q, new) - true_score(q, old)) for (q, old, _), new in scored])

    found[f"best constant: {constant}"] = against([constant] * len(asked))
    again, draw = found.pop("untrained"), random.Random(SEED)
    best = max(found, key=lambda name: found[name][0])
    for name, row in sorted(found.items(), key=lambda one: -one[1][0]):
        print(row, name[:90])
    record(
        "nulls_lose",
        found[best],
        null=best,
        bar="the upper end of the best null's interval is below 0.5",
        holds=max(row[2] for row in found.values()) < 0.5,
        constants_searched=searched,
        at_temperature_0=against(greedy),
        scripted_and_good=against([compose(one, GOOD, draw) for one in requests]),
        initial_true_score=round(statistics.fmean(true_score(q, first) for q, first, _ in rows), 4),
        more={"nulls": found, "drawn_again": again, "questions": QUESTIONS},
    )


if __name__ == "__main__":
    main()
