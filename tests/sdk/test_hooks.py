"""Each place where Python tells of failures, with a program that fails there."""

from __future__ import annotations

import pytest

from tests.sdk.conftest import Programs, messages, reports
from tests.sdk.receiving import Receiver


def test_what_ends_the_program_is_critical_and_python_still_prints_it(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
def checkout():
    raise ValueError("no such order")
checkout()
""")
    assert ended.code == 1
    assert ended.errors.endswith("ValueError: no such order\n")
    (report,) = reports(server)
    assert (report["severity"], report["culprit"]) == ("CRITICAL", "__main__.checkout")
    assert report["exceptions"][-1]["handled"] is False
    assert report["exceptions"][-1]["frames"][-1]["sourceLine"] == 'raise ValueError("no such order")'


def test_neither_ctrl_c_nor_a_wanted_exit_is_a_failure(programs: Programs, server: Receiver) -> None:
    assert programs.run("raise KeyboardInterrupt").code != 0
    assert programs.run("sys.exit('enough')").code == 1
    assert reports(server) == []


def test_what_ends_a_thread_is_reported_with_its_name(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
def work():
    raise ValueError("no such order")
for target in (work, sys.exit):
    thread = threading.Thread(target=target, name="orders")
    thread.start()
    thread.join()
""")
    assert ended.code == 0
    assert "Exception in thread orders" in ended.errors
    (report,) = reports(server)
    assert (report["severity"], report["message"], report["context"]) == ("HIGH", "no such order", {"thread": "orders"})


def test_what_nobody_can_catch_is_reported_with_its_place(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
class Order:
    def __del__(self):
        raise ValueError("cannot be closed")
Order()
""")
    assert ended.code == 0
    assert "Exception ignored" in ended.errors
    (report,) = reports(server)
    assert (report["type"], report["context"]["object"]) == ("ValueError", "function")


def test_log_records_are_reported_from_error_on_with_their_template(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
import logging
log = logging.getLogger("shop.orders")
log.warning("not this one")
log.error("no order %s for %s", 7, "ada", extra={"region": "eu", "api_key": "hunter2"})
log.critical("no orders at all")
try:
    int("x")
except ValueError:
    log.exception("order %d is broken", 8)
""")
    assert ended.code == 0
    error, critical, raised = reports(server)
    assert (error["severity"], error["message"]) == ("HIGH", "no order 7 for ada")
    assert (error["template"], error["logger"]) == ("no order %s for %s", "shop.orders")
    assert error["context"]["extra"] == {"region": "eu", "api_key": "[scrubbed]"}
    assert error["context"]["log"]["function"] == "<module>"
    assert (critical["severity"], "template" in critical) == ("CRITICAL", False)
    assert (raised["type"], raised["context"]["log"]["logMessage"]) == ("ValueError", "order 8 is broken")


def test_a_record_whose_parameters_do_not_fit_is_reported_as_it_was_written(
    programs: Programs, server: Receiver
) -> None:
    ended = programs.run("""
import logging
logging.raiseExceptions = False
class Hostile:
    def __str__(self):
        raise RuntimeError("no text today")
logging.getLogger("shop").error("no order %s for %s", 7)
logging.getLogger("shop").error("got %s", Hostile())
print(tocsin_sdk.problems())
""")
    assert (ended.code, ended.output.strip()) == (0, "0"), ended.errors
    said = ("no order %s for %s (its parameters do not fit)", "got %s (its parameters do not fit)")
    assert messages(server) == dict.fromkeys(said, 1)


def test_the_level_of_the_logging_hook_is_for_the_program_to_choose(programs: Programs, server: Receiver) -> None:
    programs.run("""
import logging
tocsin_sdk.init(logging_level=logging.WARNING)
logging.getLogger("shop").warning("this one")
tocsin_sdk.init(logging_level=None)
logging.getLogger("shop").error("not this one")
tocsin_sdk.init(install_hooks=False)
raise ValueError("nor this one")
""")
    assert {report["message"]: report["severity"] for report in reports(server)} == {"this one": "MEDIUM"}


def test_hooks_that_were_there_before_still_run_and_close_puts_them_back(programs: Programs) -> None:
    ended = programs.run(
        """
tocsin_sdk.init()
tocsin_sdk.init()
sys.excepthook(ValueError, ValueError("one"), None)
tocsin_sdk.close()
print(sys.excepthook is mine, threading.excepthook is theirs, len(logging.getLogger().handlers))
""",
        begin="""
import logging, sys, threading
import tocsin_sdk
def mine(kind, error, traceback):
    print("mine saw", error)
sys.excepthook = mine
theirs = threading.excepthook
""",
    )
    assert ended.output == "mine saw one\nTrue True 0\n", ended.errors


WATCHED = """
import asyncio, gc
{imports}
async def fail():
    raise ValueError("no such order")
def callback():
    raise KeyError("callback")
async def main():
    {watch}
    asyncio.get_running_loop().call_soon(callback)
    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    await asyncio.sleep(0.01)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "source",
    [
        WATCHED.format(imports="from tocsin_sdk.hooks import event_loop", watch="event_loop.watch()"),
        WATCHED.format(imports="", watch="pass"),
    ],
    ids=["watched", "from the log"],
)
def test_tasks_and_callbacks_that_fail_unseen_are_reported_once(
    programs: Programs, server: Receiver, source: str
) -> None:
    ended = programs.run(source)
    assert ended.code == 0, ended.errors
    assert messages(server) == {"no such order": 1, "'callback'": 1}
    assert {report["logger"] for report in reports(server)} == {"asyncio"}


def test_an_event_loops_own_handler_still_runs(programs: Programs, server: Receiver) -> None:
    ended = programs.run(
        WATCHED.format(
            imports="from tocsin_sdk.hooks import event_loop",
            watch="""asyncio.get_running_loop().set_exception_handler(lambda loop, context: print("mine"))
    event_loop.watch()""",
        )
    )
    assert ended.output == "mine\nmine\n"
    assert len(reports(server)) == 2
