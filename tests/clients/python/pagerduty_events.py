"""A program that tells PagerDuty, with its own client for Python: `pagerduty_events.py URL ROUTING_KEY`.

In a process of its own, because the client finds the certificate that it trusts by an environment variable.
"""

from __future__ import annotations

import sys

import pagerduty

_, URL, ROUTING_KEY = sys.argv

client = pagerduty.EventsApiV2Client(ROUTING_KEY, base_url=URL)
key = client.trigger("The disk is full", "backup-1", severity="critical", custom_details={"free": "0 bytes"})
client.acknowledge(key)
client.resolve(key)
print(key)
try:
    client.send_event("trigger", payload={"summary": "no source"})
except pagerduty.Error as error:
    answer = error.response
    print(answer and (answer.status_code, answer.json()["errors"]))
