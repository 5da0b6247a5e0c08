"""Frontier and choice: cases worked by hand, and laws."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.meter.cost import Cost
from lightmeter.meter.trials import Frontier, Spread, Trial, beats, choose, median_cost, run_trials


def trial(name: str, quality: float, cpu_s: float) -> Trial:
    return Trial(name, quality, Cost(cpu_s, cpu_s, 1000), quality_name="recall@1")


CHEAP, GOOD, BEST, WORSE = trial("cheap", 0.2, 1), trial("good", 0.7, 2), trial("best", 0.9, 9), trial("worse", 0.6, 3)
FOUR = [WORSE, BEST, CHEAP, GOOD]

few = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # few values, so that ties happen
trials = st.lists(st.tuples(few, few), min_size=1, max_size=12).map(
    lambda pairs: [trial(f"t{index}", quality, cpu_s) for index, (quality, cpu_s) in enumerate(pairs)]
)


class TestFrontier:
    def test_by_hand(self):
        assert Frontier(FOUR).points == (CHEAP, GOOD, BEST)

    def test_equals_stay_together(self):
        twin = trial("twin", 0.7, 2)
        assert Frontier([*FOUR, twin]).points == (CHEAP, GOOD, twin, BEST)

    def test_same_price_only_the_better_stays(self):
        assert Frontier([trial("a", 0.5, 1), trial("b", 0.6, 1)]).points == (trial("b", 0.6, 1),)

    @given(trials)
    def test_nothing_on_it_is_beaten_and_everything_off_it_is(self, some):
        points = Frontier(some).points
        for each in some:
            assert any(beats(other, each) for other in some) == (each not in points)

    @given(trials, trials)
    def test_merging_frontiers_is_the_frontier_of_all(self, a, b):
        assert Frontier(a).merge(Frontier(b)) == Frontier([*a, *b])

    @given(trials)
    def test_is_its_own_frontier(self, some):
        assert Frontier(Frontier(some).points) == Frontier(some)

    def test_of_nothing_is_empty(self):
        assert Frontier([]).points == ()

    def test_refuses_to_compare_unlike_things(self):
        with pytest.raises(InvalidValueError, match="share one quality"):
            Frontier([CHEAP, Trial("x", 1.0, Cost(1, 1, 1), quality_name="map")])
        with pytest.raises(InvalidValueError, match="joules of worse must be known"):
            Frontier(FOUR, "joules")
        with pytest.raises(UnknownNameError, match="did you mean 'wall_s'"):
            Frontier(FOUR, "wal_s")
        with pytest.raises(InvalidValueError, match="one price"):
            Frontier(FOUR).merge(Frontier(FOUR, "wall_s"))


class TestChoose:
    @pytest.mark.parametrize(
        ("bars", "chosen"),
        [
            ({"at_least": 0.5}, GOOD),
            ({"at_least": 0.71}, BEST),
            ({"within": 3}, GOOD),
            ({"within": 3, "at_least": 0.1}, CHEAP),
        ],
    )
    def test_by_hand(self, bars, chosen):
        assert choose(FOUR, **bars) == chosen

    def test_names_the_best_when_none_is_good_enough(self):
        with pytest.raises(
            InvalidValueError, match=r"0.9 or less, got 0.95: the best there is is best: recall@1 0.9 at 9"
        ):
            choose(FOUR, at_least=0.95)
        with pytest.raises(InvalidValueError, match=r"0.7 or less within cpu_s 3, got 0.8: the best there is is good"):
            choose(FOUR, at_least=0.8, within=3)

    def test_names_the_cheapest_when_none_is_cheap_enough(self):
        with pytest.raises(InvalidValueError, match=r"within must be cpu_s 1 or more, got 0.5: the cheapest is cheap"):
            choose(FOUR, within=0.5)

    def test_needs_a_bar_and_candidates(self):
        with pytest.raises(InvalidValueError, match="at_least=QUALITY"):
            choose(FOUR)
        with pytest.raises(InvalidValueError, match="at least one candidate"):
            choose([], at_least=0)

    @given(trials, few, few, st.sampled_from(["quality", "cost", "both"]))
    def test_is_on_the_frontier_and_keeps_the_bars(self, some, at_least, within, which):
        bars = {"at_least": at_least, "within": within}
        bars = bars if which == "both" else {name: bars[name] for name in (["at_least", "within"][which == "cost"],)}
        good = [t for t in some if t.quality >= bars.get("at_least", 0) and t.cost.cpu_s <= bars.get("within", 9)]
        if not good:
            with pytest.raises(InvalidValueError):
                choose(some, **bars)
            return
        chosen = choose(some, **bars)
        assert chosen in good
        assert chosen in Frontier(some)
        if "at_least" in bars:
            assert chosen.cost.cpu_s == min(t.cost.cpu_s for t in good)
        else:
            assert chosen.quality == max(t.quality for t in good)


class TestRunTrials:
    def test_takes_turns_after_the_warm_up(self):
        calls = []
        made = {name: lambda name=name: calls.append(name) or name for name in "AB"}
        found = run_trials(made, {"letters": len, "is-a": lambda answer: answer == "A"}, repeats=3)
        assert calls == ["A", "B", *"ABABAB"]
        assert [t.candidate for t in found] == ["A", "B"]
        assert [t.others["is-a"] for t in found] == [1.0, 0.0]
        assert found[0].spreads["cpu_s"].n == 3

    def test_quick_calls_are_repeated_and_divided(self):
        calls = []
        (found,) = run_trials(
            {"sleep": lambda: calls.append(time.sleep(0.002))}, {"one": lambda _: 1}, repeats=2, least_s=0.02
        )
        assert len(calls) > 10
        assert 0.002 <= found.cost.wall_s < 0.1

    def test_medians_ignore_one_slow_repeat(self):
        some = [Cost(1, 1, 5, 10), Cost(1, 2, 9, 20), Cost(50, 3, 7, 30)]
        assert median_cost(some) == Cost(1, 2, 9, 20)

    def test_spread_by_hand(self):
        assert Spread.of([1, 2, 3, 4, 5]) == Spread(3, 2, 4, 5)
        assert Spread.of([1, 2, 3, 4, 5]).iqr == 2
        with pytest.raises(InvalidValueError, match="at least one value"):
            Spread.of([])

    def test_refuses_no_repeats_and_no_number(self):
        with pytest.raises(InvalidValueError, match="repeats"):
            run_trials({"a": int}, {"q": float}, repeats=0)
        with pytest.raises(InvalidValueError, match="q of a must be a finite number"):
            run_trials({"a": int}, {"q": lambda _: float("nan")}, repeats=1)
