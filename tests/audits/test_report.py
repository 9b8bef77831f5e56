"""The audit's page: complete in one file, true to its findings, deaf to what texts would have it do."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from some_findings import bars, cost, example, gaps, generations, lines, page, reliability

from jurist.audits.finding import Chart, Finding, Point, Series
from jurist.audits.read_run import example_of
from jurist.audits.report import Page, render, write_report
from jurist.audits.report.drawing import chart
from jurist.audits.report.words import answer, tick, told, written
from jurist.records import Completion, Matchup, Prompt, Verdict

STYLE = (Path(__file__).parents[2] / "src/jurist/audits/report/style.css").read_text()


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    seen: list[str] = []

    class Reader(HTMLParser):
        hidden = False

        def handle_starttag(self, tag, attrs):
            self.hidden = tag in ("style", "script")

        def handle_endtag(self, tag):
            self.hidden = False

        def handle_data(self, data):
            if not self.hidden:
                seen.append(data)

    Reader().feed(html)
    return " ".join(" ".join(seen).split())


def test_the_page_needs_nothing_beside_it_and_says_every_finding():
    made = render(page())

    assert not re.search(r"<link|<img|\burl\(|@import|src=", made)
    seen = text_of(made)
    for one in page().findings:
        assert one.says in seen, one.name
        assert one.name in made
    assert "34.0%" in seen
    assert "29.5% to 38.7% (95% interval), n = 412" in seen
    assert 'lang="en"' in made
    assert "prefers-color-scheme: dark" in made
    assert "@media print" in made
    assert "prefers-reduced-motion" in made


def test_a_hundred_findings_leave_what_is_wrong_in_sight_and_the_rest_to_be_opened():
    judges = [f"judge {k}" for k in range(30)]
    flips = [
        Finding(
            "position.flip_rate", one, f"{one} flips.", "warning", 9, k / 40, fair=0.0, advice="Ask twice"
        )
        for k, one in enumerate(judges)
    ]
    notes = [Finding("position.between_equals", one, f"{one} sits.", "note", 9, 0.1) for one in judges]
    fine = [Finding("position.first", one, f"{one} is fair.", "fine", 9, 0.5) for one in judges]

    made = render(Page("t", "s", (*fine, *notes, *flips)))

    assert made.count('class="finding of-') == 1, "one of a kind is told at length, the furthest from fair"
    at_length = made[made.index('class="finding of-') :]
    assert at_length.index("judge 29 flips.") < at_length.index("judge 0 flips.")
    assert made.count('class="advice"') == 1
    opened = made[made.index('<details class="others">') :]
    assert made.count('<details class="others">') == 1
    assert all(f"{one} sits." in opened and f"{one} is fair." in opened for one in judges)
    assert not any(f"{one} flips." in opened for one in judges)


def test_what_was_not_measured_stands_at_the_end_with_what_would_make_it_possible():
    seen = text_of(render(page()))

    at = seen.index("Not measured, and what would make it possible")
    assert seen.index("nobody labelled a matchup") > at
    assert seen.index("jurist spotcheck runs/big -n 200") > at
    assert seen.index("Each prompt still gets") < at


def test_audits_stand_by_their_worst_finding_and_within_each_the_worst_is_first():
    seen = text_of(render(Page("t", "s", tuple(sorted(page().findings, key=lambda one: one.says)))))

    told = (
        "prefers the longer in 41",
        "12.4",
        "On 34.0%",
        "58.2% of 824",
        "root KL of 10",
        "A label cost",
        "3.1",
    )
    order = [seen.index(one) for one in told]
    assert sorted(order[:4]) == sorted(order)[:4], "the two audits with an alarm come first"
    assert order[0] < order[1]
    assert order[2] < order[3]
    assert order[4:] == sorted(order[4:])


@pytest.mark.parametrize(
    ("grades", "short"),
    [
        (("fine", "note"), "Yes."),
        (("fine", "silent"), "As far as it was measured, yes."),
        (("fine", "warning", "silent"), "With care."),
        (("alarm", "warning", "fine"), "Not yet."),
        (("silent", "silent"), "Nobody can say yet."),
        ((), "Nobody can say yet."),
    ],
)
def test_one_sentence_answers_whether_to_train_on_it(grades, short):
    findings = [Finding("position.flip_rate", grade=grade, n=50) for grade in grades]

    assert answer(findings)[1] == short
    assert short in text_of(render(Page("t", "s", tuple(findings))))


def test_a_handful_of_prompts_clears_nobody_but_can_condemn():
    few = Finding("position.flip_rate", grade="fine", n=9)
    many = Finding("reading.unread", grade="fine", n=10)
    bad = Finding("reading.ties", grade="alarm", n=9)

    assert answer([few])[:2] == ("silent", "Nobody can say yet.")
    assert "9 prompts" in answer([few])[2]
    assert answer([few, many])[1] == "Yes."
    assert answer([few, bad])[1] == "Not yet."


def test_what_to_do_next_is_something_to_do():
    silent = Finding("cost.seconds", says="Nobody wrote it down.", grade="silent", advice="Nothing to do")
    told = text_of(render(Page("t", "s", (silent,))))

    assert "What to do next" not in told
    assert told.count("Nothing to do") == 1


def test_what_models_and_people_wrote_cannot_speak_to_the_browser():
    made = render(page(hostile=True))

    assert made.count("<script") == 1, "our own"
    assert "<img" not in made
    assert made.count("<style") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
    assert "7*7" in made, "it is shown, not computed"
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", made)
    assert "⟨U+202E⟩evil" in made


def test_a_huge_answer_is_cut_and_says_so():
    made = render(Page("t", "s", page().findings, examples={"m1": example("a word " * 100_000)}))

    assert len(made) < 200_000
    assert "696,000 more characters" in made


def test_a_lone_surrogate_does_not_stop_the_page(tmp_path):
    write_report(tmp_path / "report.html", Page("t \ud800", "s", page().findings))

    assert "U+D800" in (tmp_path / "report.html").read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    "what", [bars(1), bars(3), bars(40), lines(), generations(), reliability(), gaps(), cost()]
)
def test_a_chart_has_a_title_its_marks_and_a_table(what):
    made = chart(what)

    assert what.title in text_of(made)
    points = sum(len(one.points) for one in what.series)
    assert made.count("<tr>") == points + 1
    assert made.count("<rect") == (points if what.kind == "bars" else 0)
    assert made.count("<polyline") == (len(what.series) if what.kind == "lines" else 0)
    assert "nan" not in made.lower().replace("finance", "")
    if what.kind != "bars":
        assert 'role="img" aria-label=' in made


def test_nothing_to_draw_draws_nothing():
    empty = Series("", ())
    nowhere = Series("", (Point("a", math.nan), Point(math.inf, 0.5)))

    assert chart(None) == ""
    assert chart(Chart("bars", "none", ())) == ""
    assert chart(Chart("lines", "none", (empty, nowhere))) == ""
    some = chart(Chart("bars", "one", (Series("", (Point("a", math.nan), Point("b", 0.4, 0.1, math.inf))),)))
    assert some.count("<rect") == 1


@pytest.mark.parametrize("values", [(0.0, 0.0), (-3.0, -2.0), (1e-9, 2e-9), (5e8, 5e8), (0.5,)])
@pytest.mark.parametrize("kind", ["bars", "lines", "dots"])
def test_every_place_in_a_chart_is_a_number(kind, values):
    points = tuple(Point(at if kind != "bars" else f"bar {at}", y, y, y) for at, y in enumerate(values))

    made = chart(Chart(kind, "odd", (Series("", points),), unit="number"))

    assert made.count("<figure") == 1
    assert "nan" not in made
    assert "inf" not in made


def test_numbers_are_written_as_people_write_them():
    assert [written(0.3416), written(-0.05), written(-0.0001), written(None)] == [
        "34.2%",
        "−5.0%",
        "0.0%",
        "unknown",
    ]
    assert [written(0.00042, "usd"), written(3.5, "usd"), written(0.0, "usd")] == [
        "$0.00042",
        "$3.50",
        "$0.00",
    ]
    assert [written(1234.4, "number"), written(4.1, "number"), written(312.0, "seconds")] == [
        "1,234",
        "4.1",
        "5.2 min",
    ]
    assert [written(4.4e-16, "number"), written(-4.4e-16, "number")] == ["0", "0"]
    assert [tick(0.1, "share", 0.05), tick(0.0015, "usd", 0.0005)] == [
        "10%",
        "$0.0015",
    ]


def test_commands_in_advice_are_set_as_commands():
    code = "<code><span>jurist</span> <span>label</span> <span>--out</span> <span>x</span></code>"
    assert told("Ask again with: jurist label --out x") == f"Ask again with: {code}"
    for flag in (
        "--judge.samples 5",
        "--prefer.rho 0.3",
        "--judge.swap fraction:0.2",
        "--human labels.jsonl",
    ):
        spans = " ".join(f"<span>{word}</span>" for word in flag.split())
        assert told(f"Ask ({flag}), and again") == f"Ask (<code>{spans}</code>), and again"
    ask, rest = "jurist audit run --human spot.jsonl", "Its rows stay out unless: jurist export run"
    assert str(told(f"Label more: {ask}. {rest}")).count("<code>") == 2
    assert ". Its rows stay out unless: <code>" in told(f"Label more: {ask}. {rest}")
    assert told("With --json for machines") == "With <code><span>--json</span></code> for machines"
    assert told("a `b<c` d") == "a <code><span>b&lt;c</span></code> d"


def test_an_example_tells_each_verdict_from_the_seats_on_the_page():
    prompt = Prompt.of("Which?", domain="d")
    one, two = Completion.of(prompt.id, "One.", "p1"), Completion.of(prompt.id, "Two.", "p2")
    met = Matchup.of(prompt, one, two)
    said = [
        Verdict("v1", "judge", met.id, one.id, two.id, "given", 0.9),
        Verdict("v2", "judge", met.id, two.id, one.id, "swapped", 0.9),
        Verdict("v3", "points", first_id=two.id, score=4.0),
        Verdict("v4", "judge", "another", "x", "y", "given", 0.9),
    ]

    seen = example_of(met, said, [Verdict("h", "human:ann", met.id, p_first=1.0)])

    assert [(one.order, one.p_first, one.score) for one in seen.judges] == [
        ("given", 0.9, None),
        ("swapped", pytest.approx(0.1), None),
        ("second", None, 4.0),
    ]
    assert [one.p_first for one in seen.humans] == [1.0]
    assert "first, 90% sure" in text_of(
        render(Page("t", "s", (Finding("a.b", grade="alarm", n=1, examples=("m",)),), examples={"m": seen}))
    )


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_in_light_in_the_dark_and_on_paper():
    schemes = [
        dict(re.findall(r"--([\w]+):(#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{([^}]*)\}", STYLE)
    ]
    assert len(schemes) == 3

    for scheme in schemes:
        for ground in ("page", "card"):
            for ink in (
                "ink",
                "soft",
                "alarm",
                "warning",
                "note",
                "fine",
                "silent",
                *(f"s{n}" for n in range(6)),
            ):
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground, scheme[ink])
        assert contrast(scheme["ink"], scheme["code"]) >= 4.5


def browser():
    """Chromium, or a reason to skip."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("there is no /usr/bin/chromium")
    words = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    return sync_api.sync_playwright(), str(chromium), [*words.split(), "--disable-sync"]


@pytest.mark.slow
def test_in_a_browser_nothing_overflows_fails_loads_or_is_empty(tmp_path):
    playwright, chromium, words = browser()
    write_report(tmp_path / "report.html", page(hostile=True))
    complaints: list[str] = []
    with playwright as p:
        opened = p.chromium.launch(executable_path=chromium, args=words)
        for width in (320, 390, 1280):
            for scheme in ("light", "dark"):
                tab = opened.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
                tab.on("console", lambda said: complaints.append(said.text))
                tab.on("pageerror", lambda error: complaints.append(str(error)))
                tab.on("request", lambda asked: asked.url.startswith("file:") or complaints.append(asked.url))
                tab.on("dialog", lambda box: complaints.append(box.message))
                tab.goto((tmp_path / "report.html").as_uri())
                tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
                assert tab.evaluate("document.documentElement.scrollWidth") == width
                sizes = tab.evaluate(
                    "[...document.querySelectorAll('figure svg:not(.inner), .strip svg')]"
                    ".map(one => one.getBoundingClientRect()).map(box => [box.width, box.height])"
                )
                assert len(sizes) > 12
                assert all(wide > 40 and tall > 8 for wide, tall in sizes), (width, sizes)
                tab.close()
        tab = opened.new_page()
        tab.goto((tmp_path / "report.html").as_uri())
        tab.keyboard.press("j")
        tab.keyboard.press("e")
        first = "document.querySelector('.finding')"
        assert tab.evaluate(f"document.activeElement === {first}")
        assert tab.evaluate(f"{first}.querySelector('.examples').open")
        tab.keyboard.press("j")
        assert tab.evaluate("document.activeElement === document.querySelectorAll('.finding')[1]")
        for _ in range(60):
            tab.keyboard.press("j")
        assert not tab.evaluate("document.activeElement.closest('details:not([open])')"), "nothing unseen"
        opened.close()
    assert complaints == []
