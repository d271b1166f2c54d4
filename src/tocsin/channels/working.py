"""Which channels work, as far as the settings say."""

from __future__ import annotations

from tocsin.channels import apprise
from tocsin.domain.contact_method import CHANNELS
from tocsin.settings import Settings


def working_channels(settings: Settings) -> frozenset[str]:
    """Return the channels over which messages can leave."""
    needs = {
        "email": settings.smtp_host,
        "slack_app": settings.slack_token,
        "sms": settings.gateway_url,
        "voice": settings.gateway_url,
        "apprise": apprise.available(),
    }
    return frozenset(channel for channel in CHANNELS if needs.get(channel, True))
