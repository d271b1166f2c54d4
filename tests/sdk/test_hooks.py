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


@pytest.mark.parametrize("set_up", ["", "logging.basicConfig(level=logging.INFO, format='%(name)s: %(message)s')"])
def test_what_the_host_logs_is_printed_as_it_is_without_us(programs: Programs, set_up: str) -> None:
    source = f"""
import logging
{set_up}
for level in (logging.INFO, logging.WARNING, logging.ERROR):
    logging.getLogger("shop").log(level, "order %d", level)
print(len(logging.getLogger().handlers))
"""
    without = programs.run(source, begin="")
    beside = programs.run(source)
    assert (beside.output, beside.errors) == (without.output, without.errors)
    assert "order 40" in beside.errors


def test_loggers_that_go_their_own_way_are_heard_whatever_is_configured_later(
    programs: Programs, server: Receiver
) -> None:
    ended = programs.run("""
import logging.config
alone = logging.getLogger("alone")
alone.propagate = False
alone.addHandler(logging.NullHandler())
alone.error("one")
early = logging.getLogger("early")
logging.config.dictConfig({
    "version": 1,
    "disable_existing_loggers": True,
    "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
    "loggers": {"kept": {"propagate": False, "handlers": ["console"]}},
    "root": {"handlers": ["console"], "level": "INFO"},
})
logging.getLogger("kept").error("two")
logging.getLogger("later").error("three")
early.error("not this one: the program has switched its logger off")
""")
    assert (ended.code, ended.output) == (0, "two\nthree\n"), ended.errors
    assert messages(server) == {"one": 1, "two": 1, "three": 1}


def test_a_handler_and_a_report_that_fail_keep_nothing_from_each_other(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
import logging
class Failing(logging.Handler):
    def handle(self, record):
        raise OSError("the pipe is gone")
logging.getLogger("broken").addHandler(Failing())
try:
    logging.getLogger("broken").error("order 1")
except OSError as error:
    print(error)
logging.basicConfig(stream=sys.stdout, format="%(message)s")
client = tocsin_sdk.current()
client.capture_message = None
logging.getLogger("shop").error("order 2")
print(tocsin_sdk.problems())
""")
    assert (ended.code, ended.output) == (0, "the pipe is gone\norder 2\n1\n"), ended.errors
    assert messages(server) == {"order 1": 1}


def test_what_logs_while_it_is_reported_comes_to_an_end(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
import logging
def before_send(report):
    logging.getLogger("shop").error("seen: %s", report["message"][:20])
    return report
tocsin_sdk.init(before_send=before_send)
logging.getLogger("shop").error("order 1")
""")
    assert ended.code == 0
    assert messages(server) == {"order 1": 1, "seen: order 1": 1}


def test_init_again_reports_a_record_once_and_close_leaves_logging_as_it_was(
    programs: Programs, server: Receiver
) -> None:
    ended = programs.run("""
import logging
tocsin_sdk.init()
logging.getLogger("shop").error("order 1")
tocsin_sdk.flush(10)
ours = logging.Logger.callHandlers
def theirs(logger, record):
    ours(logger, record)
logging.Logger.callHandlers = theirs
tocsin_sdk.close()
logging.getLogger("shop").error("order 2")
assert logging.Logger.callHandlers is theirs
""")
    assert (ended.code, ended.errors) == (0, "order 1\norder 2\n")
    assert messages(server) == {"order 1": 1}


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
print(sys.excepthook is mine, threading.excepthook is theirs, logging.Logger.callHandlers is call_handlers)
""",
        begin="""
import logging, sys, threading
import tocsin_sdk
call_handlers = logging.Logger.callHandlers
def mine(kind, error, traceback):
    print("mine saw", error)
sys.excepthook = mine
theirs = threading.excepthook
""",
    )
    assert ended.output == "mine saw one\nTrue True True\n", ended.errors


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
