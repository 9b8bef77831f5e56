"""Findings of every kind, for the page: as real audits make them, and as nobody would want them."""

from jurist.audits.finding import Chart, Finding, Point, Series
from jurist.audits.read_run import ExampleVerdict, MatchupExample
from jurist.audits.report import Page

JUDGES = (
    "openai:gpt-5-mini",
    "vllm:Qwen/Qwen3-8B-Instruct-2507@http://judge.example:8000/v1",
    "anthropic:claude",
)
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \u202eevil\u202c \x00\x1b[31m </div></details>"
    + "{{ 7*7 }} &amp; <style>body{display:none}</style> "
    + "x" * 3000
)


def bars(n: int = 3, name: str = "flips") -> Chart:
    points = tuple(
        Point(JUDGES[at] if at < len(JUDGES) else f"judge number {at}", y, max(0, y - 0.05), y + 0.06, 120)
        for at, y in enumerate((0.34, 0.12, 0.03, *(0.02 + 0.01 * (k % 30) for k in range(n))))
    )
    return Chart(
        "bars",
        "How often each judge follows the seat",
        (Series(name, points[:n]),),
        "judge",
        "share of matchups asked in both orders",
        mark=0.1,
        marked="tolerated",
    )


def lines() -> Chart:
    steps = tuple(range(0, 41, 4))
    proxy = tuple(Point(x / 2, 0.5 + 0.011 * x, 0.47 + 0.011 * x, 0.53 + 0.011 * x, 200) for x in steps)
    true = tuple(
        Point(
            x / 2,
            0.5 + 0.02 * x - 0.0005 * x * x,
            0.46 + 0.02 * x - 0.0005 * x * x,
            0.54 + 0.02 * x - 0.0005 * x * x,
            200,
        )
        for x in steps
    )
    return Chart(
        "lines",
        "The judge goes on rising where the truth turns",
        (Series("judge in training", proxy), Series("held-out judge", true)),
        "square root of KL to the start",
        "win rate against the start",
        mark=0.5,
        marked="as good as the start",
    )


def generations() -> Chart:
    kinds = (
        "distinct pairs of words",
        "unique answers",
        "compression",
        "self-BLEU",
        "boilerplate",
        "refusals",
        "length IQR",
    )
    return Chart(
        "lines",
        "Diversity by generation, as a share of the first",
        tuple(
            Series(kind, tuple(Point(g, 1 - 0.05 * at * g / 2) for g in range(6)))
            for at, kind in enumerate(kinds)
        ),
        "generation",
        "",
        mark=0.75,
        marked="stop",
    )


def reliability() -> Chart:
    dots = tuple(
        Point(0.5 + 0.05 * k, 0.5 + 0.035 * k, 0.45 + 0.035 * k, 0.56 + 0.035 * k, 80) for k in range(10)
    )
    return Chart(
        "dots", "Sure and right", (Series("", dots),), "how sure the judge was", "how often people agree"
    )


def gaps() -> Chart:
    named = ("finance", "medicine", "cooking and other things of the household")
    pair = (
        Series(
            "judge",
            tuple(
                Point(name, 0.2 - 0.15 * at, 0.1 - 0.15 * at, 0.3 - 0.15 * at, 50)
                for at, name in enumerate(named)
            ),
        ),
        Series("people", tuple(Point(name, 0.05, -0.02, 0.12, 50) for name in named)),
    )
    return Chart(
        "bars", "Preference for the longer answer", pair, "domain", "advantage of the longer", mark=None
    )


def cost() -> Chart:
    points = tuple(
        Point(name, y) for name, y in (("a call", 0.0004), ("a label", 0.0011), ("a right label", 0.0016))
    )
    return Chart("bars", "What one costs", (Series("", points),), "", "US dollars", unit="usd")


def example(text: str = "Take two a day, with food.") -> MatchupExample:
    return MatchupExample(
        "m1",
        "How much of it may I take?",
        text,
        "Ask your pharmacist.",
        "policy-a",
        "human",
        (
            ExampleVerdict(JUDGES[0], "given", 0.93, why="The first is more concrete."),
            ExampleVerdict(JUDGES[0], "swapped", 0.21),
            ExampleVerdict(JUDGES[1], "given", None, unread="no verdict"),
            ExampleVerdict("points", "first", score=7.0),
        ),
        (ExampleVerdict("human:ann", "given", 0.0), ExampleVerdict("human:bo", "given", 0.5)),
    )


def page(hostile: bool = False) -> Page:
    bad = HOSTILE if hostile else ""
    findings = (
        Finding(
            "position.flip_rate",
            JUDGES[0] + bad,
            f"On 34.0% of 412 matchups asked in both orders, {JUDGES[0]} chose the same seat twice.{bad}",
            "alarm",
            412,
            0.34,
            0.295,
            0.387,
            fair=0.0,
            advice=f"Drop what flips: `jurist export runs/big --prefer.consistent true`{bad}",
            chart=bars(),
            examples=("m1", "m2"),
        ),
        Finding(
            "position.first_share",
            JUDGES[1],
            f"{JUDGES[1]} took the first seat in 58.2% of 824 verdicts; a fair judge takes it in 50%.",
            "warning",
            412,
            0.582,
            0.541,
            0.622,
            fair=0.5,
            advice="The two orders cancel it. Ask in both with: jurist label --judge.swap always",
        ),
        Finding(
            "length.prefers_longer",
            "openai:gpt-5-mini",
            "Where people prefer the shorter answer, the judge prefers the longer in 41.2% of 260.",
            "alarm",
            260,
            0.412,
            0.36,
            0.47,
            fair=0.2,
            advice="Tell it that length is no merit: `--judge.against_length true`, then audit again",
            chart=gaps(),
        ),
        Finding("length.debt", "", "The gain of 12.4 points shrinks to 7.1.", "note", 260, 0.071, 0.02, 0.12),
        Finding(
            "overoptimisation.gap",
            "",
            "The held-out judge turned at a root KL of 10 while the training judge went on rising.",
            "warning",
            11,
            0.12,
            0.02,
            0.2,
            advice="Stop at round 3",
            chart=lines(),
        ),
        Finding(
            "diversity.unique",
            "",
            "Each prompt still gets 4.1 different answers of 5.",
            "fine",
            5,
            4.1,
            3.9,
            4.3,
            unit="number",
            chart=generations(),
        ),
        Finding(
            "calibration.ece",
            "",
            "The judge is as often right as it is sure, within 3.1 points.",
            "fine",
            800,
            0.031,
            0.02,
            0.05,
            chart=reliability(),
        ),
        Finding("cost.label", "", "A label cost $0.0011.", "note", 900, 0.0011, unit="usd", chart=cost()),
        Finding(
            "agreement.accuracy",
            "",
            "How often people agree is not known: nobody labelled a matchup.",
            "silent",
            advice="Draw a spot check of 200 with: jurist spotcheck runs/big -n 200",
        ),
        Finding(
            "self_preference.gap",
            "",
            "No policy is of the judge's family, so there is nothing to favour.",
            "silent",
            advice="Name families in a file: `--families families.yaml`",
        ),
        *(
            Finding(
                "ceiling.domain",
                f"domain {k}",
                f"In domain {k} people agree with the judge on {70 + k}% of 90.",
                "warning" if k < 6 else "fine",
                90,
                0.7 + 0.01 * k,
                0.6 + 0.01 * k,
                0.8 + 0.005 * k,
                advice="Send these domains to people" if k < 6 else "",
            )
            for k in range(12)
        ),
    )
    return Page(
        "Audit of runs/big" + bad,
        "runs/big" + bad,
        findings,
        (
            ("prompts", "1,200"),
            ("verdicts", "9,600"),
            ("judges", "3"),
            ("labelled by people", "0"),
            ("cost", "$4.12"),
        ),
        {"m1": example(), "m2": example(HOSTILE if hostile else "Two.")},
    )
