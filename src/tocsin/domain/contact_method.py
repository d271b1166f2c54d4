"""Contact methods: over which channels people can be reached, and which address of each could ever work."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

CHANNELS = ("email", "webhook", "slack", "slack_app", "ntfy", "sms", "voice", "apprise")
"""What people are reached over, as it is recorded and typed."""

MAX_ADDRESS_CHARACTERS = 2000

_EMAIL = re.compile(r"(?=[!-~]+\Z)[^@<>\"',;:]{1,64}@[A-Za-z0-9.-]{1,189}")
_WEB = re.compile(r"https?://[!-~]{1,1980}")
_NTFY = re.compile(
    r"https?://(?:[!-.0->A-~]+@)?[^/?#@\s]+/(?:[!->@-~]*/)?[-_A-Za-z0-9]{1,64}(?:\?auth=[-_A-Za-z0-9]+=*)?"
)
_SLACK_ID = re.compile(r"[CDGUW][A-Z0-9]{2,30}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")

# What Apprise 2.3 speaks, less what acts on this machine or reads its files: desktop notifications (dbus, gnome,
# glib, macosx, windows), syslog, blink1, and fcm, vapid and deltachat, whose keys are files; and less aprs, which
# connects by name, so that its address cannot be judged. What a later Apprise adds, somebody looks at first.
_SCHEMAS = """
46elks acs amqp amqps apprise apprises atalk awswhatsapp azure bale bark barks betterstack bluesky brevo bsky
bulksms bulkvs burstsms chanify clickatell clicksend cliq cm d7sms dapnet dingtalk discord dot eight00com elks emby
embys enigma2 enigma2s evolution evolutions exotel feishu firehydrant flock flowtriq flowtriqs fluxer fluxers form
forms freemobile gchat github goalert goalerts gorush gorushs gotify gotifys groundmail groupme growl guilded
gupshup hassio hassios httpsms humhub humhubs ifttt ilert incidentio infobip instagram irc ircs jellyfin jellyfins
jira join json jsons kakao kakaotalk kaleyra kavenegar klr kodi kodis kook kudosity kumulos lametric lametrics lark
lauther lfg line mailersend mailgun mailto mailtos mastodon mastodons matrix matrixs misskey misskeys mmost mmosts
mobilemessage mobilemsg mqtt mqtts msg91 msgbird nctalk nctalks ncloud nclouds nexmo nostr notica noticas notifiarr
notifico notificos notifyapp notifyre ntfy ntfys o365 octopush onebot onebots onesignal opsgenie opsimate opsimates
pagerduty pagertree parsep parseps pbul pinglet pinglets pingram pjet pjets plivo postmark pover prowl psafer
psafers push pushdeer pushdeers pushed pushme pushplus pushward pushy qq reddit resend revolt ringc rocket rockets
rsyslog ryver schan sendgrid sendpulse serwersms ses session sessions seven sfr signal signalgrid signals signl4
simplepush sinch slack smpp smpps smsc smseagle smseagles smsmanager smsmgr smstunnel smtp2go sns sogs sparkpost
spike splunk spugpush spush squadcast stackfield strmlabs synology synologys telesign telnyx tgram threema toot
toots trigv trigvs tweet twilio twist twitter viber victorops voipms vonage webex wechat wecom wecombot whapi
whatsapp workflow workflows wpush wxpusher wxteams x xbmc xbmcs xmatters xml xmls xmpp xmpps youlmk zalo zcliq
zohocliq zoom zulip
"""
APPRISE_SCHEMAS = frozenset(_SCHEMAS.split())
_APPRISE = re.compile(r"([a-z0-9]{1,20})://[!-~]{1,1970}")
_APPRISE_OPTIONS_REFUSED = frozenset({"redirect", "keyfile", "pgp", "pgp_key", "pgp_privkey", "pgpprv", "pgppub"})


def address_problem(channel: str, address: str) -> str | None:
    """Return why nobody can be reached over this channel at this address, as the end of "the address …", or None."""
    check = _CHECKS.get(channel)
    if check is None:
        return f"needs a channel out of {', '.join(CHANNELS)}"
    if len(address) > MAX_ADDRESS_CHARACTERS:
        return f"must have at most {MAX_ADDRESS_CHARACTERS} characters"
    return check(address)


def _matching(pattern: re.Pattern[str], problem: str) -> Callable[[str], str | None]:
    return lambda address: None if pattern.fullmatch(address) else problem


def _apprise_problem(address: str) -> str | None:
    match = _APPRISE.fullmatch(address)
    if match is None:
        return "must be an Apprise URL, like tgram://TOKEN/CHAT"
    if match[1] not in APPRISE_SCHEMAS:
        return f"must not be {match[1]}://, which Apprise does not know or which acts on this machine"
    refused = _APPRISE_OPTIONS_REFUSED.intersection(name.lower() for name, _ in parse_qsl(urlsplit(address).query))
    if refused:
        return f"must not set {', '.join(sorted(refused))}: redirects and files of this machine are refused"
    return None


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "email": _matching(_EMAIL, "must be an e-mail address"),
    "webhook": _matching(_WEB, "must be a webhook's http(s) URL"),
    "slack": _matching(_WEB, "must be the URL of a Slack incoming webhook"),
    "slack_app": _matching(_SLACK_ID, "must be the id of a Slack channel or member, like C024BE91L"),
    "ntfy": _matching(_NTFY, "must be an ntfy topic's URL, like https://ntfy.example.org/topic"),
    "sms": _matching(_PHONE, "must be a phone number like +4915112345678 (E.164)"),
    "voice": _matching(_PHONE, "must be a phone number like +4915112345678 (E.164)"),
    "apprise": _apprise_problem,
}
