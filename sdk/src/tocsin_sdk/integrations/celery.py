"""Celery: reports tasks that failed for good. A retry is no failure yet."""

from __future__ import annotations

from typing import Any

from celery.signals import task_failure  # type: ignore[import-untyped]

from tocsin_sdk import current
from tocsin_sdk.report import Details


def install() -> None:
    """Listen to Celery's signal; call it where the worker's application is made, after `tocsin_sdk.init`."""
    task_failure.connect(_report, weak=False, dispatch_uid="tocsin_sdk")


def _report(
    sender: Any = None, task_id: str | None = None, exception: BaseException | None = None, **_: object
) -> None:
    client = current()
    if client is None or exception is None:
        return
    # The arguments stay out: nobody knows what is in them.
    details = Details(tags={"task": getattr(sender, "name", "")}, context={"task": {"id": task_id or ""}})
    client.capture_exception(exception, handled=False, details=details)
