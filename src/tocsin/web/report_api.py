"""The post-incident report over HTTP, as a file."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from tocsin.app.post_incident import post_incident_report
from tocsin.domain.post_incident import PostIncidentReport
from tocsin.domain.report_markdown import markdown
from tocsin.web.endpoint import Call
from tocsin.web.reading import incident_ref


async def as_markdown(call: Call) -> Response:
    """Give the report as Markdown."""
    report = await _report(call)
    return _file(report, "md", markdown(report), "text/markdown; charset=utf-8")


async def as_pdf(call: Call) -> Response:
    """Give the report as a PDF; it is laid out beside the event loop."""
    from tocsin.app.report_pdf import pdf  # noqa: PLC0415  # it brings images and fonts: not before somebody asks

    report = await _report(call)
    return _file(report, "pdf", await asyncio.to_thread(pdf, report, call.services.app.clock()), "application/pdf")


async def _report(call: Call) -> PostIncidentReport:
    async with call.services.app.work() as work:
        return await post_incident_report(work, call.actor, incident_ref(call.path("id")))


def _file(report: PostIncidentReport, ending: str, content: str | bytes, media_type: str) -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="INC-{report.number}.{ending}"',
        "Cache-Control": "no-store",
        # A text that a client wrote must not be looked at as HTML, whatever a browser thinks of it.
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, headers=headers, media_type=media_type)
