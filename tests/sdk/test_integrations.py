"""Each framework with a tiny application of its own: what a view raises is reported once, with its request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sdk.conftest import Programs, reports
from tests.sdk.receiving import Receiver
from tocsin_sdk.integrations.requests import as_utf8

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"

ASGI = f"""
import asyncio
from tocsin_sdk.integrations.asgi import TocsinASGI
async def app(scope, receive, send):
    raise ValueError("no such order")
scope = {{"type": "http", "method": "GET", "path": "/orders/7", "query_string": b"page=2&token=hunter2",
    "headers": [(b"traceparent", b"{PARENT}"), (b"cookie", b"sid=hunter2")]}}
try:
    asyncio.run(TocsinASGI(app)(scope, None, None))
except ValueError:
    print("raised on")
"""
WSGI = f"""
from tocsin_sdk.integrations.wsgi import TocsinWSGI
def app(environ, start_response):
    raise ValueError("no such order")
environ = {{"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/orders/7",
    "QUERY_STRING": "page=2&token=hunter2", "HTTP_TRACEPARENT": "{PARENT}", "HTTP_COOKIE": "sid=hunter2"}}
try:
    TocsinWSGI(app)(environ, None)
except ValueError:
    print("raised on")
"""
DJANGO = f"""
import django
from django.conf import settings
settings.configure(DEBUG=False, SECRET_KEY="k", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
django.setup()
from django.test import Client
from django.urls import path
from tocsin_sdk.integrations import django as tocsin_django
def view(request, number):
    raise ValueError("no such order")
urlpatterns = [path("orders/<int:number>", view)]
tocsin_django.install()
client = Client(raise_request_exception=False)
answer = client.get("/orders/7?page=2&token=hunter2", headers={{"traceparent": "{PARENT}", "cookie": "sid=hunter2"}})
print("raised on" if answer.status_code == 500 else answer.status_code)
"""
FLASK = f"""
from flask import Flask
from tocsin_sdk.integrations import flask as tocsin_flask
app = Flask("shop")
@app.get("/orders/<int:number>")
def view(number):
    raise ValueError("no such order")
tocsin_flask.install(app)
answer = app.test_client().get("/orders/7?page=2&token=hunter2", headers={{"traceparent": "{PARENT}"}})
print("raised on" if answer.status_code == 500 else answer.status_code)
"""
FASTAPI = f"""
import threading, time, urllib.request, urllib.error
import uvicorn
from fastapi import FastAPI
from tocsin_sdk.integrations import fastapi as tocsin_fastapi
app = FastAPI()
@app.get("/orders/{{number}}")
def view(number: int):
    raise ValueError("no such order")
tocsin_fastapi.install(app)
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
thread = threading.Thread(target=server.run, daemon=True)
thread.start()
deadline = time.monotonic() + 10
while not server.started and time.monotonic() < deadline:
    time.sleep(0.01)
port = server.servers[0].sockets[0].getsockname()[1]
url = f"http://127.0.0.1:{{port}}/orders/7?page=2&token=hunter2"
try:
    urllib.request.urlopen(urllib.request.Request(url, headers={{"traceparent": "{PARENT}"}}))
except urllib.error.HTTPError as error:
    print("raised on" if error.code == 500 else error.code)
    error.close()
server.should_exit = True
thread.join(10)
"""
CELERY = """
from celery import Celery
from tocsin_sdk.integrations import celery as tocsin_celery
app = Celery("shop", set_as_current=False)
app.conf.update(task_always_eager=True)
@app.task(name="shop.charge", bind=True, max_retries=1)
def charge(self, card):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    raise ValueError("no such order")
tocsin_celery.install()
print("raised on" if charge.delay("hunter2").failed() else "not failed")
"""


def _run(programs: Programs, server: Receiver, source: str) -> dict[str, Any]:
    # The frameworks' own warnings are no business of ours.
    ended = programs.run(source, PYTHONWARNINGS="ignore")
    assert ended.code == 0, ended.errors
    assert ended.output == "raised on\n"
    assert "tocsin_sdk:" not in ended.errors
    (report,) = reports(server)
    assert (report["type"], report["message"], report["severity"]) == ("ValueError", "no such order", "HIGH")
    assert report["exceptions"][-1]["handled"] is False
    assert "hunter2" not in str(report)
    return report


@pytest.mark.parametrize(
    ("source", "route"),
    [
        (ASGI, None),
        (WSGI, None),
        pytest.param(DJANGO, "orders/<int:number>", marks=pytest.mark.slow),
        (FLASK, "/orders/<int:number>"),
        pytest.param(FASTAPI, "/orders/{number}", marks=pytest.mark.slow),
    ],
    ids=["asgi", "wsgi", "django", "flask", "fastapi"],
)
def test_what_a_view_raises_is_reported_once_with_its_request_and_goes_on(
    programs: Programs, server: Receiver, source: str, route: str | None
) -> None:
    report = _run(programs, server, source)
    request = {"method": "GET", "path": "/orders/7", "query": "page=2&token=[scrubbed]"}
    assert report["context"]["request"] == (request | {"route": route} if route else request)
    assert report["traceId"] == TRACE


@pytest.mark.slow
def test_a_task_that_failed_for_good_is_reported_and_a_retry_is_not(programs: Programs, server: Receiver) -> None:
    report = _run(programs, server, CELERY)
    assert report["tags"] == {"task": "shop.charge"}


def test_an_answer_that_fails_while_it_is_read_or_closed_is_reported_and_otherwise_unchanged(
    programs: Programs, server: Receiver
) -> None:
    ended = programs.run("""
from tocsin_sdk.integrations.wsgi import TocsinWSGI
class Answer:
    def __iter__(self):
        yield b"half"
        raise ValueError("no second half")
    def close(self):
        raise ValueError("cannot be closed")
answer = TocsinWSGI(lambda environ, start_response: Answer())({}, None)
try:
    for part in answer:
        print(part)
except ValueError as error:
    print(error)
try:
    answer.close()
except ValueError as error:
    print(error)
whole = [b"whole"]
print(TocsinWSGI(lambda environ, start_response: whole)({}, None) is whole)
""")
    assert ended.output == "b'half'\nno second half\ncannot be closed\nTrue\n", ended.errors
    assert [report["message"] for report in reports(server)] == ["no second half", "cannot be closed"]


@pytest.mark.parametrize("written", ["/grüße", "/grüße".encode().decode("latin-1")])
def test_a_path_that_is_not_ascii_is_reported_as_it_was_meant(
    programs: Programs, server: Receiver, written: str
) -> None:
    programs.run(f"""
from tocsin_sdk.integrations.wsgi import TocsinWSGI
def app(environ, start_response):
    raise ValueError("no such order")
environ = {{"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": {written!r}, "QUERY_STRING": {written!r}}}
try:
    TocsinWSGI(app)(environ, None)
except ValueError:
    pass
""")
    (report,) = reports(server)
    assert report["context"]["request"] == {"method": "GET", "path": "/grüße", "query": "/grüße"}


@pytest.mark.parametrize("text", ["/\u65e5\u672c", "/caf\xe9", "/orders"])
def test_a_path_that_was_decoded_before_or_is_not_utf8_stays(text: str) -> None:
    assert as_utf8(text) == text
