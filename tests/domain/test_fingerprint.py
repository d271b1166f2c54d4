"""The same failure has the same fingerprint, another failure another one, today and after the next release."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tocsin.domain.fingerprint import (
    _IN_ALL_VARIABLES,
    _QUOTED,
    _VARIABLE,
    FINGERPRINT_VERSION,
    MAX_REMEMBERED,
    Fingerprint,
    _material,
    _Memory,
    fingerprint,
    normalise,
)
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport, Frame, RaisedException, bounded

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LOGGED = ErrorReport("e1", Severity.HIGH, "", "cannot pay order 17", NOW)
PLACE = Frame("pay", "shop.pay", "/srv/shop/pay.py", 12, "    raise ValueError(order)")
LIBRARY = Frame("run", "lib.runner", "/usr/lib/runner.py", 99, "fn()", in_app=False)


def raised(
    *frames: Frame, error_type: str = "ValueError", message: str = "cannot pay order 17", **more: object
) -> ErrorReport:
    chain = (RaisedException(error_type, message, frames=frames),)
    return replace(LOGGED, error_type=error_type, message=message, exceptions=chain, **more)


def same(one: ErrorReport, other: ErrorReport) -> bool:
    return fingerprint(one) == fingerprint(other)


GOLDEN = {
    "client": replace(LOGGED, fingerprint=("payments", "timeout")),
    "client with default": replace(LOGGED, fingerprint=("{{ default }}", "eu")),
    "stack": raised(LIBRARY, PLACE),
    "stack of a chain": replace(
        raised(PLACE),
        exceptions=(RaisedException("KeyError", "'x'", frames=(LIBRARY,)), *raised(PLACE).exceptions),
    ),
    "stack without type": replace(LOGGED, exceptions=(RaisedException("", frames=(PLACE,)),)),
    "stack of files": raised(Frame("go", filename=r"C:\App\Main.9f8e7d6c.JS?v=3", source_line="a  =  b()")),
    "exception": raised(LIBRARY),
    "template": replace(LOGGED, template="cannot pay order %s"),
    "message": replace(LOGGED, message="order 17 of 'bob' at 0x7f01, 10.0.0.1:80, a1b2c3d4e5f6, bob@example.org"),
    "nothing": replace(LOGGED, message=""),
}

VECTORS = {
    "client": ("client", "81add143892d03e1aa5767f3bdb29ce9e845f33b9c3225f9c8ff3bdb6f7c40df"),
    "client with default": ("client", "614df3124a10bc1c99b9c1e42c16cd23fa286a97d386c155b2842d4cf5893dca"),
    "stack": ("stack", "fdbf766d51b969537269672640a96f071bf357c34722867cdf3086f461d6dc33"),
    "stack of a chain": ("stack", "e56fd8b3f99fce542c777c7a98f01be238aaeef126cbb7de4fe8563daf4baf0f"),
    "stack without type": ("stack", "0031315ab3b078146b3dab57dc37c243649999e04efea8f8ad63262e1a13ae27"),
    "stack of files": ("stack", "d0929331c23b981855799251ad169bc1ef02fda1f3f4d8410c0fd19bd6da0714"),
    "exception": ("exception", "7148848cc421ab12119d93a96b6731bc78c3ddaf1b19a8eb5d4c14dc6ce23e31"),
    "template": ("template", "721d4a138a2b8c2091f82924133c312eef0486ee9d8d9210994bdb532f5b2bcb"),
    "message": ("message", "472ef4c0b0763666275fec60bc2d0cc56602d3077c1733aad85a6b8332885a1c"),
    "nothing": ("message", "f5c198921e8b4d19401722b5f9bbce3057648683315fbb9c25bd37413827beb4"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_version_1_gives_the_values_it_always_gave(name: str) -> None:
    found = fingerprint(GOLDEN[name])
    assert found.version == FINGERPRINT_VERSION == 1
    assert (found.basis, found.value) == VECTORS[name]


def test_the_stack_decides_before_the_message() -> None:
    assert same(raised(PLACE), raised(PLACE, message="something else entirely"))


def test_another_line_number_or_event_or_tag_is_the_same_failure() -> None:
    moved = replace(PLACE, line=400, filename="/srv/releases/42/pay.py", source_line="raise  ValueError(order)  ")
    assert same(raised(PLACE), raised(moved, event_id="e2", tags={"a": "b"}, release="2", environment="test"))


@given(st.integers(min_value=0) | st.none(), st.integers(0, 2**64))
def test_line_numbers_and_addresses_do_not_matter(line: int | None, address: int) -> None:
    def at(line: int | None, address: int) -> ErrorReport:
        return raised(replace(PLACE, line=line, function=f"<function handler at {address:#x}>"))

    assert same(at(1, 1), at(line, address))


@given(st.text(st.characters(categories=["L", "N"]), min_size=1))
def test_another_function_of_the_program_is_another_failure(name: str) -> None:
    assert same(raised(PLACE), raised(replace(PLACE, function=name))) == (name == PLACE.function)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, module="shop.refund"),
        replace(PLACE, source_line="raise ValueError(customer)"),
        replace(PLACE, function="refund"),
    ],
)
def test_another_place_is_another_failure(other: Frame) -> None:
    assert not same(raised(PLACE), raised(other))
    assert not same(raised(PLACE), raised(PLACE, other))


def test_another_type_at_the_same_place_is_another_failure() -> None:
    assert not same(raised(PLACE), raised(PLACE, error_type="TypeError"))


def test_frames_of_libraries_do_not_matter_while_the_program_has_some() -> None:
    assert same(raised(PLACE), raised(LIBRARY, PLACE, LIBRARY))
    assert fingerprint(raised(LIBRARY)).basis == "exception"


@given(st.integers(1, 60), st.integers(1, 60))
def test_recursion_is_one_failure_however_deep(one: int, other: int) -> None:
    def recursive(depth: int) -> ErrorReport:
        again = Frame("visit", "shop.tree", source_line="visit(child)")
        back = Frame("enter", "shop.tree", source_line="enter(node)")
        return raised(PLACE, *[again, back] * depth, Frame("visit", "shop.tree", source_line="raise Broken"))

    assert same(recursive(one), recursive(other))
    assert same(recursive(one), bounded(recursive(500), received_at=NOW))


def test_a_group_is_the_same_failure_with_one_equal_error_more() -> None:
    child, group = RaisedException("ValueError"), raised(PLACE).exceptions[0]
    assert same(
        replace(LOGGED, exceptions=(child, child, group)), replace(LOGGED, exceptions=(child, child, child, group))
    )


def test_the_cause_is_part_of_the_failure() -> None:
    cause = RaisedException("KeyError", frames=(replace(PLACE, function="load"),))
    assert not same(raised(PLACE), replace(raised(PLACE), exceptions=(cause, *raised(PLACE).exceptions)))


def test_file_names_stand_in_for_modules_whatever_the_directory_case_or_build() -> None:
    here = Frame("go", filename="/app/static/Main.9f8e7d6c.js?v=1")
    there = Frame("go", filename=r"C:\other\main.0a1b2c3d.js")
    assert same(raised(here), raised(there))
    assert not same(raised(here), raised(replace(here, filename="/app/static/admin.js")))


def test_frames_that_say_nothing_decide_nothing() -> None:
    assert fingerprint(raised(Frame("<anonymous>", line=3), Frame("?"))).basis == "exception"


def test_messages_with_a_stack_are_told_apart_by_what_they_say() -> None:
    def message(text: str) -> ErrorReport:
        return replace(LOGGED, message=text, exceptions=(RaisedException("", text, frames=(PLACE,)),))

    assert fingerprint(message("disk full")).basis == "stack"
    assert not same(message("disk full"), message("no such user"))
    assert same(message("order 1 failed"), message("order 22 failed"))


def test_a_template_decides_before_the_message() -> None:
    one = replace(LOGGED, template="cannot pay order %s", message="cannot pay order ABC")
    assert fingerprint(one).basis == "template"
    assert same(one, replace(one, message="cannot pay order XYZ"))


@pytest.mark.parametrize("template", ["%s", "%(message)s", "{}", "{0!r}: {error}", "%s: %-10.3f", "  "])
def test_a_template_without_words_does_not_make_everything_one_failure(template: str) -> None:
    assert fingerprint(replace(LOGGED, template=template)).basis == "message"


def test_the_clients_fingerprint_wins() -> None:
    client = ("payments",)
    assert same(raised(PLACE, fingerprint=client), replace(LOGGED, message="other", fingerprint=client))
    assert fingerprint(raised(PLACE, fingerprint=client)).basis == "client"


@pytest.mark.parametrize("blank", [(), ("",), (" ", "\n"), ("{{ default }}",), ("{{default}}", "{{ default }}")])
def test_a_client_that_only_asks_for_the_default_gets_it(blank: tuple[str, ...]) -> None:
    assert same(raised(PLACE, fingerprint=blank), raised(PLACE))


def test_the_default_can_be_refined() -> None:
    refined = raised(PLACE, fingerprint=("{{ default }}", "eu"))
    assert fingerprint(refined).basis == "client"
    assert not same(refined, raised(PLACE))
    assert not same(refined, raised(PLACE, fingerprint=("{{ default }}", "us")))
    assert not same(refined, raised(replace(PLACE, function="refund"), fingerprint=("{{ default }}", "eu")))


def test_no_literal_part_can_pretend_to_be_the_default() -> None:
    default = fingerprint(raised(PLACE)).value
    assert not same(raised(PLACE, fingerprint=("{{ default }}", "eu")), raised(PLACE, fingerprint=(default, "eu")))


def test_what_is_remembered_is_what_would_be_computed() -> None:
    def mark(number: int) -> Fingerprint:
        return fingerprint(raised(replace(PLACE, function=f"f{number:x}g")))

    marks = [mark(number) for number in range(MAX_REMEMBERED + 100)]
    assert len(set(marks)) == len(marks)
    assert [mark(number) for number in range(MAX_REMEMBERED + 100)] == marks


def test_what_is_remembered_has_a_limit() -> None:
    memory = _Memory()
    judged = []

    def judge(number: int) -> Fingerprint:
        judged.append(number)
        return Fingerprint(1, str(number), "stack")

    for number in range(3 * MAX_REMEMBERED):
        memory.judged(number, judge)
        assert len(memory) <= MAX_REMEMBERED
    # The latest half is surely there.
    judged.clear()
    for number in range(3 * MAX_REMEMBERED - MAX_REMEMBERED // 2, 3 * MAX_REMEMBERED):
        assert memory.judged(number, judge).value == str(number)
    assert judged == []


def test_a_failure_that_keeps_coming_is_not_forgotten() -> None:
    memory = _Memory()
    usual = Fingerprint(1, "usual", "stack")
    memory.judged("usual", lambda _: usual)
    for number in range(3 * MAX_REMEMBERED):
        memory.judged(number, lambda number: Fingerprint(1, str(number), "stack"))
        if number % 1_000 == 0:
            assert memory.judged("usual", lambda _: Fingerprint(1, "computed again", "stack")) is usual


def test_a_report_that_nobody_bounded_has_a_fingerprint_too() -> None:
    assert same(raised(replace(PLACE, line=2**80)), raised(PLACE))
    assert fingerprint(replace(LOGGED, message="half a pair: \ud800")).basis == "message"


def test_a_stack_of_libraries_is_judged_by_its_words_each_time() -> None:
    one, other = raised(LIBRARY, message="disk full"), raised(LIBRARY, message="no such user")
    assert not same(one, other)
    assert [fingerprint(one).basis, fingerprint(other).basis] == ["exception", "exception"]


parts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4).map(tuple)


@given(parts, parts)
def test_parts_never_run_together(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    both_named = any(part.strip() for part in one) and any(part.strip() for part in other)
    if both_named:
        assert same(replace(LOGGED, fingerprint=one), replace(LOGGED, fingerprint=other)) == (one == other)


def test_a_template_is_never_the_message_of_the_same_words() -> None:
    words = "cannot pay"
    assert not same(replace(LOGGED, template=words), replace(LOGGED, message=words))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 failed", "order 123456789 failed"),
        ("order 17 failed", "order -1.5e-7 failed"),
        ("order 1234567 failed", "order 1234567a8 failed"),
        ("user 3b241101-e2bb-4255-8caf-4136c566a962 gone", "user 00000000-0000-0000-0000-000000000000 gone"),
        ("object at 0x7f8e12ab", "object at 0x0"),
        ("no such key: 'a'", "no such key: 'something with 17 words'"),
        ('no such key: "it\'s"', 'no such key: "b"'),
        ("refused by 10.0.0.1:5432", "refused by 192.168.1.200:80"),
        ("refused by fe80::1", "refused by 2001:db8:0:1:1:1:1:1"),
        ("refused by 2001:1::", "refused by ::ffff:10.0.0.1"),
        ("mail to bob@example.org bounced", "mail to a.b+c@mail.example.co.uk bounced"),
        ("token Xk29sJd82hSk20aQ expired", "token aB3dE5fG7hI9jK1lM expired"),
        ("at 12:30:45.123", "at 1:02:03"),
        ("many   spaces\n\there", "many spaces here"),
    ],
)
def test_what_varies_is_normalised_away(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cannot read order", "cannot write order"),
        ("don't panic", "can't panic"),
        ("std::vector failed", "std::string failed"),
        ("in ::add", "in ::fade"),
        ("deadline passed", "deadlock passed"),
        ("handler_for_v2_payments", "handler_for_v2_refunds"),
    ],
)
def test_words_are_never_normalised_away(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


# An address without any digit (`ff::`) reads like a name of C++, and stays.
addresses = st.ip_addresses().filter(lambda address: any(character.isdigit() for character in str(address)))
varying = st.tuples(st.uuids(), st.integers(), addresses)


@given(varying, varying)
def test_ids_numbers_and_addresses_of_any_value_are_the_same(
    one: tuple[object, ...], other: tuple[object, ...]
) -> None:
    message = "job {} try {} on {} failed"
    assert normalise(message.format(*one)) == normalise(message.format(*other))


@given(st.text(st.characters() | st.sampled_from("-'\"`@7٣af:.+_ ")))
def test_only_what_may_vary_is_looked_at_twice(text: str) -> None:
    assert bool(_IN_ALL_VARIABLES.search(text)) or not (_VARIABLE.search(text) or _QUOTED.search(text))


@given(st.lists(st.text(st.characters() | st.sampled_from('\x7f\x00"\\/\n'))), st.text(st.characters()))
def test_a_fingerprint_is_computed_from_json_in_ascii(parts: list[str], label: str) -> None:
    material: list[object] = [1, "stack", [[label, [tuple(parts)]]]]
    assert _material(material) == json.dumps(material, separators=(",", ":")).encode("ascii")


@given(st.text(st.characters()))
def test_normalising_takes_any_text(text: str) -> None:
    assert len(normalise(text)) <= 512


UNITS = [
    "'",
    '"a',
    "`'\"",
    " '",
    "a",
    "1",
    "a1",
    "f",
    ":",
    "a:",
    "1:",
    "::",
    "0x",
    "1.",
    ".",
    "@",
    "a@",
    "a@a.",
    "-",
    "+1",
]


PIECES = [
    *UNITS,
    "12345678",
    "-1234",
    "-123456789012",
    "deadbeef",
    "e-3",
    "a@b.c",
    "1.2.3.4",
    "0X",
    "é",
    "٣",
    "²",
    "\ud800",
    "\n",
    "(",
    "_",
]
IN_ONE_PASS = re.compile(
    r"(?<!\w) (?: '[^'\n]*+' | \"[^\"\n]*+\" | `[^`\n]*+` ) (?!\w) |" + _VARIABLE.pattern, re.VERBOSE
)


@given(st.lists(st.sampled_from(PIECES) | st.characters(), max_size=400).map("".join))
def test_word_by_word_gives_what_one_pass_over_the_whole_text_gives(text: str) -> None:
    assert normalise(text) == " ".join(IN_ONE_PASS.sub("<*>", text).split())[:512]


@given(st.lists(st.sampled_from(UNITS), min_size=1, max_size=4).map("".join))
def test_normalising_is_never_slow(unit: str) -> None:
    # 25 passes of 4 KiB each: backtracking would take minutes, the scan takes about 50 ms.
    from time import process_time

    text = (unit * 4_096)[:4_096]
    started = process_time()
    for _ in range(25):
        normalise(text)
    assert process_time() - started < 2.5
