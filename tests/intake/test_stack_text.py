"""Stacks as text: what Python, JavaScript and Java print becomes frames, outermost call first, cause first."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.cost import read_cheaply
from tests.intake.samples import MEGABYTE
from tocsin.domain.report import Frame, RaisedException
from tocsin.intake.stack_text import MAX_STACK_LINES, read_stack

V8 = """TypeError: no such order: a@b:17
    at Object.pay (/app/dist/orders.js:12:9)
    at new Cart (C:\\shop\\cart.js:5:1)
    at async /app/dist/server.js:3:1
    at Array.map (<anonymous>)
    at async Promise.all (index 0)
    at /app/node_modules/express/index.js:9:2
    at node:internal/process/task_queues:95:5
"""
FIREFOX = "pay@https://shop.example/static/app.js:12:9\nasync*@https://shop.example/static/app.js:3:1\n"
JAVA = """java.lang.IllegalStateException: payment failed
\tat com.example.shop.Orders.pay(Orders.java:12)
\tat app//com.example.shop.Cart.lambda$new$0(Cart.java)
\tat java.base/java.lang.Thread.run(Thread.java:840)
\tSuppressed: java.io.IOException: closing
Caused by: com.example.bank.BankException: refused: no money
\tat com.example.bank.Api.<init>(Api.java:3)
\tat jdk.internal.reflect.Method.invoke0(Native Method)
\t... 2 more
"""


def refuse() -> None:
    raise KeyError("no money")


def pay() -> None:
    try:
        refuse()
    except KeyError as error:
        raise ValueError("payment\nfailed") from error


def test_a_real_python_traceback_becomes_its_chain_cause_first() -> None:
    with pytest.raises(ValueError, match="payment") as caught:
        pay()
    text = "".join(traceback.format_exception(caught.value))
    cause, last = read_stack(text, "builtins.ValueError", "payment\nfailed")
    assert (cause.type, cause.message) == ("KeyError", "'no money'")
    assert [frame.function for frame in cause.frames] == ["pay", "refuse"]
    assert cause.frames[-1].source_line == 'raise KeyError("no money")'
    assert cause.frames[-1].filename == __file__
    assert cause.frames[-1].line == refuse.__code__.co_firstlineno + 1
    assert (last.type, last.message) == ("builtins.ValueError", "payment\nfailed")
    assert last.frames[-1].source_line == 'raise ValueError("payment\\nfailed") from error'


def test_markers_repetitions_and_missing_sources_are_no_source_lines() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "<string>", line 1, in <module>\n'
        '  File "/app/x.py", line 2, in f\n'
        "    f()\n"
        "    ~^^\n"
        "  [Previous line repeated 900 more times]\n"
        '  File "<frozen runpy>", line 3\n'
        "RecursionError\n"
    )
    (only,) = read_stack(text, "RecursionError", "")
    assert only.frames == (
        Frame("<module>", filename="<string>", line=1),
        Frame("f", filename="/app/x.py", line=2, source_line="f()"),
        Frame("", filename="<frozen runpy>", line=3, in_app=False),
    )


def test_javascript_in_v8_is_read_and_turned_around() -> None:
    (only,) = read_stack(V8, "TypeError", "no such order")
    assert only.frames == (
        Frame("", filename="node:internal/process/task_queues", line=95, in_app=False),
        Frame("", filename="/app/node_modules/express/index.js", line=9, in_app=False),
        Frame("", filename="/app/dist/server.js", line=3),
        Frame("Cart", filename="C:\\shop\\cart.js", line=5),
        Frame("Object.pay", filename="/app/dist/orders.js", line=12),
    )


def test_javascript_in_firefox_is_read() -> None:
    (only,) = read_stack(FIREFOX, "TypeError", "")
    assert [(frame.function, frame.line) for frame in only.frames] == [("async*", 3), ("pay", 12)]


def test_java_and_its_causes_are_read_cause_first() -> None:
    cause, last = read_stack(JAVA, "java.lang.IllegalStateException", "payment failed")
    assert cause == RaisedException(
        type="com.example.bank.BankException",
        message="refused: no money",
        frames=(
            Frame("invoke0", "jdk.internal.reflect.Method", "Native Method", in_app=False),
            Frame("<init>", "com.example.bank.Api", "Api.java", 3),
        ),
    )
    assert last.frames == (
        Frame("run", "java.lang.Thread", "Thread.java", 840, in_app=False),
        Frame("lambda$new$0", "com.example.shop.Cart", "Cart.java"),
        Frame("pay", "com.example.shop.Orders", "Orders.java", 12),
    )


@pytest.mark.parametrize("text", ["", "goroutine 1 [running]:", "at", "  at ", "mail a@b:25", "Traceback (most recent"])
def test_what_is_no_stack_gives_nothing(text: str) -> None:
    assert read_stack(text, "panic", "") == ()


def test_a_runaway_recursion_keeps_both_ends() -> None:
    calls = "".join(f"    at f{number} (/app/x.js:{number}:1)\n" for number in range(3_000))
    (only,) = read_stack("RangeError\n" + calls, "RangeError", "")
    assert len(only.frames) == MAX_STACK_LINES - 1
    assert (only.frames[0].function, only.frames[-1].function) == ("f2999", "f0")


LINES = [
    "Traceback (most recent call last):",
    '  File "x.py", line 1, in f',
    "    f()",
    "ValueError: no",
    "  at (a:1:2)",
]


@given(st.lists(st.sampled_from([*LINES, *V8.splitlines(), *JAVA.splitlines()]) | st.text(max_size=30), max_size=30))
def test_any_text_is_frames_or_nothing(lines: list[str]) -> None:
    chain = read_stack("\n".join(lines), "T", "m")
    assert all(exception.frames for exception in chain)
    assert [(exception.type, exception.message) for exception in chain[-1:]] in ([], [("T", "m")])


UNITS = ["a", "\n", " at ", "\tat (", "at ((", "a@", "a@b:1:2\n", ":1:1", "a/", 'File "', "Caused by: ", " at a/a(b:"]


@pytest.mark.slow
@pytest.mark.parametrize("unit", [*UNITS, '  File "x", line 1\n'])
@pytest.mark.parametrize("head", ["", "Traceback (most recent call last):\n", "\tat ", "    at f ("])
def test_a_hostile_megabyte_is_cheap(unit: str, head: str) -> None:
    text = head + unit * (MEGABYTE // len(unit))
    read_cheaply(lambda: read_stack(text, "", ""))
