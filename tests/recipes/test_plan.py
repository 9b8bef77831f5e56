"""How many human labels an answer takes, and what they cost."""

import pytest

from jurist.errors import SettingError
from jurist.recipes.plan import plan


def test_a_plan_has_the_figures_and_their_price():
    found = {one.question: one for one in plan(agreement=0.8, margin=0.03, price=2.0, rho=0.636).questions}

    assert found["know the agreement to +-3%"].labels == 683
    assert found["know the agreement to +-3%"].usd == 1366.0
    assert found["tell two judges apart that differ by 5%"].labels == 626
    win, helped = found["know a policy's win rate to +-3%"], found["the same with the judges' help"]
    assert win.labels / helped.labels == pytest.approx(1.68, abs=0.01)
    position = next(one for name, one in found.items() if "position bias" in name)
    assert (position.labels, position.usd) == (194, None)
    clustered = plan(agreement=0.8, margin=0.03, effect=1.4).questions
    assert clustered[0].labels == 957


@pytest.mark.parametrize("given", [{}, {"rho": 0.9, "judged": 0}, {"rho": 0.9, "judged": 1}, {"rho": 0.01}])
def test_a_row_that_would_say_nothing_is_left_out(given):
    assert "the same with the judges' help" not in {one.question for one in plan(**given).questions}


@pytest.mark.parametrize(
    "given", [{"agreement": 1.5}, {"effect": 0.5}, {"first_share": 0.4}, {"price": -1}, {"agreemnt": 0.5}]
)
def test_a_plan_refuses_what_cannot_be(given):
    with pytest.raises(SettingError, match=f"{next(iter(given))}.* See: jurist plan --help"):
        plan(**given)
