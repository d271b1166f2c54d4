"""How a person is reached: rules never lead to silence, and what is verified goes before what is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.reach import AT_ONCE, Method, Planned, Reach, Rule, plan, usable

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
MINUTES = timedelta(minutes=1)


def method(number: int, *, verified: bool = True) -> Method:
    return Method(UUID(int=number), "email", f"a{number}@example.org", NOW if verified else None)


def reach(*methods: Method, rules: tuple[Rule, ...] = (), active: bool = True) -> Reach:
    return Reach(UUID(int=99), "Noor", "responder", active, methods, rules)


def rule(minutes: int, number: int) -> Rule:
    return Rule(minutes * MINUTES, UUID(int=number))


PUSH, CALL, UNVERIFIED = method(1), method(2), method(3, verified=False)


def test_without_rules_every_usable_method_is_used_at_once() -> None:
    assert plan(reach(PUSH, CALL, UNVERIFIED)) == (Planned(PUSH, AT_ONCE), Planned(CALL, AT_ONCE))


def test_while_nothing_is_verified_everything_is_used() -> None:
    assert plan(reach(UNVERIFIED)) == (Planned(UNVERIFIED, AT_ONCE),)


def test_rules_say_what_goes_when() -> None:
    rules = (rule(5, 2), rule(0, 1), rule(15, 1))
    expected = (Planned(PUSH, AT_ONCE), Planned(CALL, 5 * MINUTES), Planned(PUSH, 15 * MINUTES))
    assert plan(reach(PUSH, CALL, rules=rules)) == expected


def test_rule_over_an_unverified_or_removed_method_does_not_lead_to_silence() -> None:
    for gone in (3, 77):
        assert plan(reach(CALL, UNVERIFIED, rules=(rule(0, gone),))) == (Planned(CALL, AT_ONCE),)


def test_rules_that_all_wait_are_kept_and_something_goes_at_once() -> None:
    planned = plan(reach(PUSH, CALL, rules=(rule(5, 2),)))
    assert planned == (Planned(PUSH, AT_ONCE), Planned(CALL, AT_ONCE), Planned(CALL, 5 * MINUTES))


def test_same_rule_twice_is_one_notification() -> None:
    assert plan(reach(PUSH, rules=(rule(0, 1), rule(0, 1)))) == (Planned(PUSH, AT_ONCE),)


def test_nobody_is_reached_who_is_shut_out_or_has_no_contact_method() -> None:
    assert plan(reach(PUSH, active=False)) == ()
    assert plan(reach(rules=(rule(0, 1),))) == ()


REACHES = st.builds(
    lambda verified, rules: reach(
        *(method(number, verified=is_verified) for number, is_verified in enumerate(verified)),
        rules=tuple(rule(minutes, number) for minutes, number in rules),
    ),
    st.lists(st.booleans(), max_size=6),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=10),
)


@given(REACHES)
def test_whoever_can_be_reached_hears_something_at_once(person: Reach) -> None:
    planned = plan(person)
    assert bool(planned) == bool(person.methods)
    if planned:
        assert planned[0].after == AT_ONCE


@given(REACHES)
def test_only_usable_methods_are_planned_once_each_instant_and_in_order(person: Reach) -> None:
    planned = plan(person)
    assert {one.method for one in planned} <= set(usable(person))
    assert len(set(planned)) == len(planned)
    assert [one.after for one in planned] == sorted(one.after for one in planned)


@given(REACHES)
def test_every_rule_that_can_be_kept_is_kept(person: Reach) -> None:
    kept = {(one.after, one.method.id) for one in plan(person)}
    can = {one.id for one in usable(person)}
    assert {(one.after, one.contact_method_id) for one in person.rules if one.contact_method_id in can} <= kept


@given(REACHES)
def test_an_unverified_method_is_planned_only_while_none_is_verified(person: Reach) -> None:
    if any(one.method.verified_at is None for one in plan(person)):
        assert all(one.verified_at is None for one in person.methods)
