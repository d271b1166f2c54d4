"""The documentation for people: one page, made from the OpenAPI document; no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

from starlette.responses import HTMLResponse, Response

from tocsin.web.problems import KINDS, anchor_of

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code{font-family:ui-monospace,monospace}
h2{margin-top:2.5rem;border-bottom:1px solid #8888}
section{margin:1.5rem 0}
h3{margin-bottom:.25rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}
.method{font-weight:700}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


def docs_page(document: dict[str, Any]) -> Response:
    """Return the page for an OpenAPI document."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    parts = [f"<h2>{escape(tag)}</h2>{''.join(sections)}" for tag, sections in by_tag.items()]
    info = document["info"]
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{_prose(info['description'])}</p>"
        f'<p>For machines: <a href="/openapi.json">openapi.json</a>. '
        f"Programs send <code>Authorization: Bearer TOKEN</code>.</p>{''.join(parts)}{_problems()}</body></html>"
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        *(_parameter(parameter) for parameter in operation["parameters"]),
        *(_body(media_type, content) for media_type, content in _content(operation.get("requestBody"))),
        *(_response(status, response) for status, response in operation["responses"].items()),
    ]
    return (
        f'<section id="{escape(operation["operationId"])}"><h3><span class="method">{escape(method.upper())}</span> '
        f"<code>{escape(path)}</code></h3><p>{escape(operation['summary'])}. {_prose(operation['description'])}</p>"
        f"<table>{''.join(rows)}</table></section>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    return _row(parameter["in"], f"<code>{escape(parameter['name'])}</code> {_prose(parameter.get('description', ''))}")


def _body(media_type: str, content: dict[str, Any]) -> str:
    return _row("body", f"{escape(media_type)} {_shape(content)}")


def _response(status: str, response: dict[str, Any]) -> str:
    shapes = " ".join(_shape(content) for _, content in _content(response))
    return _row(status, f"{_prose(response['description'])} {shapes}")


def _content(part: dict[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    return list(part.get("content", {}).items()) if part else []


def _shape(content: dict[str, Any]) -> str:
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    return f"<code>{escape(name)}</code>" if name else ""


def _row(name: str, html: str) -> str:
    return f"<tr><th>{escape(name)}</th><td>{html}</td></tr>"


def _prose(text: str) -> str:
    """Return text in which `…` is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _problems() -> str:
    rows = "".join(
        f'<tr id="{anchor_of(code)}"><th><code>{code.value}</code></th><td>{kind.status}</td>'
        f"<td>{escape(kind.title)}.</td></tr>"
        for code, kind in KINDS.items()
    )
    return f'<h2 id="problems">Problems</h2><table>{rows}</table>'
