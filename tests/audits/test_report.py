"""The audit's page: the answer first, every number as text too, deaf to what texts would have it do."""

import re
from html import unescape
from pathlib import Path

import pytest

from jurist.audits.all import headline, steps
from jurist.audits.finding import About, Chart, Finding, Measure, Point, Series, find, written
from jurist.audits.findings import KINDS, SECTIONS
from jurist.audits.read_run import ExampleVerdict, MatchupExample, example_of
from jurist.audits.report import Page, render, write_report
from jurist.audits.report.charts import axis_of, draw_chart, drawn_together
from jurist.audits.report.formatting import brief, opinion, tick, with_commands
from jurist.records import Completion, Matchup, Prompt, Verdict
from jurist.stats.intervals import Estimate

STYLE = (Path(__file__).parents[2] / "src/jurist/audits/report/style.css").read_text()
CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-sync"
JUDGE = "vllm:Qwen/Qwen3-8B-Instruct-2507@http://judge.example:8000/v1"
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \u202eevil\u202c \x00\x1b[31m </div></details>"
    + "{{ 7*7 }} &amp; <style>body{display:none}</style> "
    + "x" * 3000
)


def finding(name="position.flip_rate", grade="fine", about="", **more):
    words = {"title": name.partition(".")[2], "says": f"{name} of {about or 'all'}.", "n": 412, "value": 0.34}
    if grade == "silent":
        words |= {"n": 0, "value": None}
    return Finding(name, about, grade=grade, **(words | more))


def agrees(grade="fine", about="", **more):
    return finding("agreement.accuracy", grade, about, **more)


JURY = [agrees("fine", "good"), agrees("warning", "bad"), finding(grade="alarm", about="bad")]


def bars(n=3, unit="share", mark=0.1):
    points = tuple(Point(f"judge {at}", 0.9 - 0.01 * at, 0.2, 0.95, 120) for at in range(n))
    return Chart("bars", "Flips of each judge", (Series("", points),), "judge", "", unit, mark, "tolerated")


def lines(names=("held-out judge, a series with a long name of its own", "judge"), diagonal=False, n=11):
    of = [Series(name, tuple(Point(x / 2, 0.5 + 0.01 * x, 0.4, 0.7) for x in range(n))) for name in names]
    return Chart("lines", "Judge and truth", tuple(of), "root of the KL", "win rate", diagonal=diagonal)


def example(text="Take two a day.", who=JUDGE):
    said = (
        ExampleVerdict(who, "given", 0.93, why=f"More concrete. {text}"),
        ExampleVerdict(who, "swapped", 0.21),
    )
    people = (ExampleVerdict("human:Ann", "", 1.0), ExampleVerdict("human:Bo", "", 0.5))
    return MatchupExample("m1", "How much?", text, "Ask your pharmacist.", "a", "b", said, people)


def some_page(bad=""):
    findings = (
        finding("position.flip_rate", "alarm", JUDGE + bad, fair=0.0, chart=bars(), examples=("m1",)),
        finding("position.cost", "warning", advice=f"ask again: `jurist label`{bad}", chart=lines()),
        agrees("fine", "labels", value=0.823, low=0.79, high=0.852),
        finding("cost.label", "fine", unit="usd", value=0.0011, chart=bars(unit="usd")),
        finding("calibration.over", "note", unit="points", value=-0.083, low=-0.12, high=-0.004),
        *(finding("ceiling.domain", "warning" if k < 6 else "fine", f"domain {k}{bad}") for k in range(30)),
        finding("self_preference.gap", "silent", says="No policy is of its family.", advice="Name `it`"),
    )
    facts, examples = (("prompts", "1,200"), ("judge", JUDGE + bad)), {"m1": example(bad or "Two.")}
    return Page(f"Audit of runs/big{bad}", f"runs/big{bad}", findings, facts, examples)


def text_of(html):
    """What a reader sees, in one line."""
    seen = re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<style>.*?</style>|<wbr>", "", html))
    return " ".join(unescape(seen).split())


def test_the_page_answers_first_and_its_first_number_is_the_agreement_with_humans():
    body = text_of(render(some_page())).partition("runs/big Train")[2]

    assert body.startswith(" on these labels? No 82.3% agreement with human labels")
    assert "(95% interval 79.0% to 85.2%, n = 412)" in body
    order = ["position.flip_rate of", "What to do", "prompts 1,200", "Agreement with humans", "Position bias"]
    assert [body.index(one) for one in order] == sorted(body.index(one) for one in order)


@pytest.mark.parametrize(
    ("findings", "answer", "reason"),
    [
        ([agrees(), finding()], "Yes", "None of the 2 things measured is wrong"),
        ([agrees(), finding(grade="warning")], "Yes", "below is 1 warning."),
        ([agrees(about="labels"), *JURY], "Yes", "1 alarm about single judges of the jury and 1 warning"),
        ([agrees("warning", "labels"), *JURY], "No", "position.flip_rate of bad"),
        ([agrees("silent", says="No human labels."), finding()], "Not yet", "No human labels."),
        ([agrees("warning", reason="not shown")], "Not yet", "Warning: not shown."),
        ([agrees("note", n=1, reason="too few labels"), finding()], "Not yet", "Note: too few labels."),
        ([agrees(), finding(grade="alarm", reason="too high")], "No", "Alarm: too high."),
        ([agrees(n=9), finding(n=9)], "Not yet", "9 prompts"),
        ([agrees(n=9), finding(n=9, grade="alarm")], "No", "position.flip_rate"),
        ([finding(grade="silent")], "Not yet", "Nothing could be measured"),
        ([], "Not yet", "Nothing could be measured"),
        ([finding("probe.null"), finding("probe.padding", "silent", says="Unread.")], "Not yet", "Unread."),
        ([finding("probe.null"), finding("probe.padding")], "Yes", "None of the 2"),
    ],
)
def test_one_word_and_one_reason_say_whether_to_train(findings, answer, reason):
    found = headline(findings)

    assert found.answer == answer
    assert reason in found.reason
    assert f"Train on these labels? {answer}" in text_of(render(Page("t", "s", tuple(findings))))


def test_agreement_is_that_of_the_labels_or_else_of_the_worst_judge():
    judges = [agrees("fine", "a"), agrees("alarm", "b")]
    assert headline(judges).agreement.about == "b"
    assert headline([*judges, agrees("note", "labels")]).agreement.about == "labels"


def test_no_step_is_told_twice_and_none_for_what_is_right():
    wrong = [
        finding("position.flip_rate", "warning", "a", advice="leave them out: `x`; or ask another judge"),
        finding("attacks.constant", "alarm", advice="drop them: `y`; or ask another judge: it is bad"),
        finding("length.excess", "alarm", "b", advice="mend it: `y`"),
        agrees("silent", advice="label some: `z`"),
        finding("cost.label", "note", advice="save"),
        finding("ceiling.domain", "silent", advice="name domains"),
    ]

    told = steps(wrong)

    texts = ["Drop them: `y`; or ask another judge: it is bad", "Label some: `z`", "Leave them out: `x`"]
    assert [one.text for one in told] == texts
    assert told[0].findings == [wrong[at] for at in (1, 2, 0)]


def test_a_finding_is_headed_by_its_title_with_its_number_and_the_reason_of_its_grade():
    flips = Measure(
        "position.flip_rate",
        "pairwise:judge#123456",
        Estimate(0.61, 0.56, 0.66, 400),
        {"same": 1, "of": 2, "flips": 3, "wrong": 0.3, "tolerated": 0.1},
    )
    (one,) = find([flips], KINDS, About(names={"pairwise:judge#123456": "judge"}))
    seen = text_of(render(Page("t", "s", (one,))))

    assert f"{one.title} · judge 61.0% Alarm : {one.reason} 95% interval 56.0% to 66.0%, n = 400" in seen
    assert SECTIONS["position"] in seen
    assert one.reason
    assert seen.count(one.name) == seen.count(f"--fail-on {one.name}") == 1


def test_of_thirty_judges_the_worst_are_seen_and_the_rest_are_opened():
    worse = [{"value": k / 40, "fair": 0.0} for k in range(30)]
    findings = [finding("position.flip_rate", "warning", f"judge {k}", **worse[k]) for k in range(30)]
    findings += [finding("position.cost", "fine", f"judge {k}") for k in range(30)]
    silent = [finding("ceiling.domain", "silent", f"d{k}", says="Nothing known.") for k in range(30)]

    made = render(Page("t", "s", (*findings, *silent)))

    assert made.count("27 more") == 2
    places = [made.index(one) for one in ("rate of judge 29", "rate of judge 0", "cost of judge 0")]
    assert places == sorted(places)
    assert made.count("Nothing known.") == 2, "in the answer, and once in the list"


def test_nothing_beside_the_page_and_no_script_is_needed(tmp_path):
    write_report(tmp_path / "report.html", some_page())
    made = (tmp_path / "report.html").read_text()

    assert not re.search(r"<script|<link|<img|\burl\(|@import|src=|\son\w+=", made)
    for part in ('lang="en"', "prefers-color-scheme: dark", "@media print", "<summary"):
        assert part in made
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_what_models_and_humans_wrote_cannot_speak_to_the_browser(tmp_path):
    made = render(some_page(HOSTILE))

    assert (made.count("<script"), made.count("<img"), made.count("<style")) == (0, 0, 1)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
    assert "7*7" in made, "it is shown, not computed"
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", made)
    assert "⟨U+202E⟩evil" in made
    assert len(render(Page("t", "s", some_page().findings, (), {"m1": example("a " * 10**6)}))) < 200_000
    write_report(tmp_path / "page.html", Page("t \ud800", "s", some_page().findings))
    assert "U+D800" in (tmp_path / "page.html").read_text()


CHARTS = [bars(1), bars(3), bars(40), bars(60), bars(unit="points"), bars(mark=None), lines(), lines(n=1)]
CHARTS += [lines(tuple(f"series {k}" for k in range(9))), lines(("judge",), diagonal=True), lines(n=80)]
CHARTS.append(
    Chart("lines", "By round", (Series("", (Point("initial", 1.0), Point("round 1", 0.8, 0.7, 0.9))),))
)


@pytest.mark.parametrize("what", CHARTS)
def test_what_a_chart_shows_stands_in_a_table_too_and_no_name_is_cut(what):
    made = draw_chart(what)
    table = text_of(made[made.index("<table>") :])

    assert what.title in text_of(made)
    for one in what.series:
        assert len(what.series) == 1 or one.name in table
        assert all(written(point.y, what.unit) in table for point in one.points)
    keys = text_of(made[made.index('<p class="keys">') :]) if 'class="keys"' in made else ""
    assert all(one.name in keys for one in what.series[:6] if len(what.series) > 1)
    assert made.count('<line class="ideal"') == what.diagonal == ("as often right as confident" in keys)
    drawn = what.kind == "lines" and len(one.points) > 1
    assert made.count("<polyline") == drawn * len(what.series)


@pytest.mark.parametrize("values", [(0.0, 0.0), (-3.0, -2.0), (1e-9, 2e-9), (5e8, 5e8), (0.5,), ()])
@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_every_place_in_a_chart_is_a_number(kind, values):
    nan = float("nan")
    points = (*(Point(at, y, y, nan if at else y) for at, y in enumerate(values)), Point(1.0, nan))
    made = draw_chart(Chart(kind, "odd", (Series("", points),), unit="number"))

    assert made.count("<figure") == bool(values)
    assert not re.search(r"\b(nan|inf)\b", made)


def test_points_and_shares_are_written_alike_in_sentence_chart_and_table():
    one = finding(unit="points", value=-0.083, low=-0.12, high=-0.004, chart=bars(unit="points"))
    seen = text_of(render(Page("t", "s", (one,))))

    assert "−8.3 points" in seen
    assert "95% interval −12.0 to −0.4 points" in seen
    assert seen.count("90.0 points") == 2, "bar and table"
    assert seen.count("%") == seen.count("95% interval"), "no other per cent"


def test_judges_with_a_chart_each_are_drawn_in_one():
    charts = [(f"judge {k}", lines((f"own {k}",))) for k in range(8)]

    made = drawn_together("Over-confidence", charts)

    assert [one.name for one in made.series] == [f"judge {k}" for k in range(6)]
    assert made.title == "Over-confidence, 6 of 8"
    assert drawn_together("t", charts[:1]) is None
    assert drawn_together("t", [charts[0], ("two", lines())]) is None


def test_axes_have_round_ends_and_few_numbers():
    for values in ((0.03, 0.31), (0.5, 1.0), (-0.2, 0.07), (0, 1234), (3.3e-5, 9e-5)):
        axis = axis_of(values)
        assert axis.ticks[0] <= min(values)
        assert axis.ticks[-1] >= max(values)
        assert 2 <= axis.steps <= 6
        assert [axis.place(axis.ticks[at]) for at in (0, 1, -1)] == pytest.approx([0, 100 / axis.steps, 100])
    ticks = [tick(0.1, "share", 0.05), tick(-0.1, "points", 0.05), tick(0.1, "usd", 0.1)]
    assert ticks == ["10%", "−10", "$0.10"]
    wide = Chart("bars", "wide", (Series("", (Point("a", 4e9),)),), unit="number")
    assert draw_chart(wide).count('<span style="left') == 3, "4,000,000k takes its room"


def test_an_example_tells_each_opinion_as_the_answers_stand_on_the_page():
    prompt = Prompt.of("Which?")
    one, two = Completion.of(prompt.id, "One.", "p1"), Completion.of(prompt.id, "Two.", "p2")
    met = Matchup.of(prompt, one, two)
    said = [
        Verdict("v1", "judge", met.id, one.id, two.id, "given", 0.9),
        Verdict("v2", "judge", met.id, two.id, one.id, "swapped", 0.9),
        Verdict("v3", "points", first_id=two.id, score=4.0),
        Verdict("v4", "judge", met.id, one.id, two.id, "given", None, unread="refused"),
        Verdict("v5", "judge", "another", "x", "y", "given", 0.9),
    ]

    seen = example_of(met, said, [Verdict("h", "human:Ann", met.id, one.id, two.id, "given", 1.0)])

    assert [opinion(one) for one in (*seen.humans, *seen.judges)] == [
        "human Ann: first is better",
        "judge, asked in this order: first is better (90% confident)",
        "judge, asked in the other order: second is better (90% confident)",
        "points: the second scores 4",
        "judge, asked in this order: unread (refused)",
    ]


def test_commands_are_code_and_names_break_where_they_may():
    assert str(with_commands("a `b <c>` d")) == "a <code><span>b</span> <span>&lt;c&gt;</span></code> d"
    assert str(brief("vllm:Qwen/x: y&z")) == "vllm:<wbr>Qwen/<wbr>x: y&amp;z"


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_text_can_be_read_in_light_in_the_dark_and_on_paper():
    blocks = re.findall(r":root \{([^}]*)\}", STYLE)
    schemes = [dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", block)) for block in blocks]
    assert len(schemes) == 3
    inks = ("ink", "soft", "alarm", "warning", "note", "fine", "silent", *(f"s{n}" for n in range(6)))
    pairs = [(ink, ground) for ink in inks for ground in ("page", "card")] + [("ink", "code")]
    for scheme in schemes:
        for pair in pairs:
            dark, light = sorted(luminance(scheme[one]) for one in pair)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}")
def test_in_a_browser_nothing_overflows_fails_loads_or_is_empty(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    write_report(tmp_path / "report.html", some_page(HOSTILE))
    complaints = []
    with sync_api.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS.split())
        for width in (320, 390, 1280):
            tab = opened.new_page(viewport={"width": width, "height": 844})
            tab.on("console", lambda said: complaints.append(said.text))
            tab.on("request", lambda asked: asked.url.startswith("file:") or complaints.append(asked.url))
            tab.on("dialog", lambda box: complaints.append(box.message))
            tab.goto((tmp_path / "report.html").as_uri())
            tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            box = (
                "[...document.querySelectorAll('.bar, .plot')].map(one => one.getBoundingClientRect().width)"
            )
            assert min(tab.evaluate(box)) > 40
        opened.close()
    assert complaints == []
