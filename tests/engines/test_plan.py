import pytest
from engine_toys import tasks_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.engines.limits import Limits
from lightmeter.engines.plan import Batch, Blow, Plan
from lightmeter.errors import InvalidValueError

BOOM = Blow("exception", "boom")
KILLED = Blow("signal", "killed by SIGKILL", outside=True)


def plan_of(count, size=4, fresh=lambda tasks: tasks):
    return Plan(tasks_of(count), size, fresh)


def take(plan) -> Batch | None:
    plan.pull(lambda: False)
    return plan.next() if plan.has_next else None


def play(plan, poisons, limits):
    """Try batch after batch; a batch with a poison in it breaks. Returns (done keys, failures, attempts a key)."""
    done, failures, tries = [], [], {}
    while (batch := take(plan)) is not None:
        keys = [task.key for task in batch.tasks]
        for key in keys:
            tries[key] = tries.get(key, 0) + 1
        if poisons & set(keys):
            failure = plan.broken(batch, BOOM, limits)
            failures += [failure] if failure else []
        else:
            done += keys
    return done, failures, tries


def test_a_batch_of_four_is_halved_by_hand():
    plan, limits = plan_of(4), Limits(attempts=2)
    tried = []
    while (batch := take(plan)) is not None:
        tried.append("".join(task.key[-1] for task in batch.tasks))
        if "2" in tried[-1]:
            failure = plan.broken(batch, BOOM, limits)
    assert tried == ["0123", "01", "23", "2", "2", "3"]
    assert (failure.key, failure.reason, failure.detail, failure.attempts) == ("k00002", "exception", "boom", 2)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 60), size=st.integers(1, 17), bad=st.sets(st.integers(0, 59)), attempts=st.integers(1, 3))
def test_every_good_task_is_done_once_and_every_poison_alone(count, size, bad, attempts):
    poisons = {f"k{n:05d}" for n in bad if n < count}
    done, failures, tries = play(plan_of(count, size), poisons, Limits(attempts=attempts))
    assert sorted(done) == [task.key for task in tasks_of(count) if task.key not in poisons]
    assert sorted(failure.key for failure in failures) == sorted(poisons)
    assert all(failure.attempts == attempts for failure in failures)
    halvings = (size - 1).bit_length()
    assert all(count <= halvings + attempts for count in tries.values())


def test_a_kill_from_outside_condemns_later():
    plan, limits = plan_of(1), Limits(attempts=2)
    assert [plan.broken(take(plan), KILLED, limits) is not None for _ in range(4)] == [False, False, False, True]


def test_a_rejected_file_is_not_tried_again():
    plan = plan_of(1)
    assert plan.broken(take(plan), Blow("rejected:empty", "nothing in it"), Limits(attempts=9)).attempts == 1


def test_a_batch_that_nobody_tried_comes_back_whole():
    plan = plan_of(6)
    batch = take(plan)
    plan.put_back(batch)
    assert take(plan) is batch


def test_a_key_in_flight_is_not_taken_twice():
    plan = Plan([*tasks_of(3), *tasks_of(3)], 3, lambda tasks: tasks)
    first = take(plan)
    assert take(plan) is None
    assert plan.repeats == 3
    plan.settled(first)
    assert not plan.keys


@pytest.mark.parametrize(
    "wrong",
    [
        {"silent_s": 0},
        {"attempts": 0},
        {"memory_bytes": -1},
        {"silent_s": float("nan")},
        {"total_s": float("nan")},
        {"open_s": float("inf")},
    ],
)
def test_limits_are_positive(wrong):
    with pytest.raises(InvalidValueError, match="must be above 0"):
        Limits(**wrong)
