"""Whatever a server does, each row ends as a label or leaves by name, and a run ends."""

import pytest
from jobs import accounted, at, lines, run, write_pairs
from jurist.engines.faults import Faults

from jurist.serve import serving
from jurist.tiny import judges

QUICK = {"timeout": 0.3, "max_tries": 3, "give_up_after": 2.0}


def test_every_row_ends_as_a_label_or_by_name(tmp_path):
    write_pairs(tmp_path, 60)
    faults = Faults.parse("429=.03,500=.03,drop=.03,400=.06,malformed=.03")
    with serving(judges.oracle, faults=faults) as served:
        summary = run(tmp_path, at(served, **QUICK))
        assert served.stats.faults.total() > 10
    assert summary.state == "done"
    assert summary.labels + sum(summary.dropped.values()) == 60
    assert summary.unread["call_refused"] > 0
    assert accounted(tmp_path)


@pytest.mark.parametrize(("fault", "word"), [("400", "call_refused"), ("malformed", "call_failed")])
def test_a_question_that_always_fails_leaves_its_row_by_the_name_of_the_failure(tmp_path, fault, word):
    write_pairs(tmp_path, 30)
    with serving(judges.oracle, faults=Faults.parse(f"{fault}=.1")) as served:
        run(tmp_path, at(served, **QUICK))
    unread = [one for one in lines(tmp_path, "verdicts") if one.get("unread")]
    lost = [row["reason"].split()[-1] for row in lines(tmp_path, "dropped")]
    assert {one["unread"] for one in unread} == {word}
    assert lost
    assert set(lost) == {word}


def test_a_failure_is_no_reply_and_is_asked_again_by_the_next_start(tmp_path):
    write_pairs(tmp_path, 30)
    with serving(judges.oracle, faults=Faults.parse("malformed=.2")) as bad:
        first = run(tmp_path, at(bad, **QUICK))
    with serving(judges.oracle) as good:
        second = run(tmp_path, at(good, **QUICK))
        assert good.stats.calls == first.unread["call_failed"]
    assert (second.labels, second.unread) == (30, {})


@pytest.mark.parametrize("fault", ["stall", "500", "drop"])
def test_a_dead_server_stops_the_run_and_says_what_to_type(tmp_path, fault):
    write_pairs(tmp_path, 30)
    with serving(judges.oracle, faults=Faults.parse(f"{fault}=1")) as served:
        summary = run(tmp_path, at(served, timeout=0.3, give_up_after=0.6))
    assert summary.state == "stopped"
    assert not summary.spent
    assert summary.stopped.endswith("what was answered is kept")
    assert summary.seconds < 5


def test_a_server_that_died_and_was_revived_finishes_the_job(tmp_path):
    write_pairs(tmp_path, 150)
    answered = 0

    def mortal(ask):
        nonlocal answered
        answered += 1
        if answered > 50:
            raise RuntimeError("dead")
        return judges.oracle(ask)

    with serving(mortal) as served:
        stopped = run(tmp_path, at(served, "any", give_up_after=0.6))
    assert stopped.state == "stopped"
    read = [one for one in lines(tmp_path, "verdicts") if not one.get("unread")]
    assert 0 < len(read) <= 50
    with serving(judges.oracle) as served:
        finished = run(tmp_path, at(served, "any"))
        assert served.stats.calls == 300 - 50
    assert (finished.state, finished.labels) == ("done", 150)
    assert accounted(tmp_path)
