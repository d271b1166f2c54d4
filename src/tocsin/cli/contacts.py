"""`tocsin users contact …` and `tocsin users rule …`: the ways to reach a user, and which is used when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import contacts, verification
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, EmailArgument, JsonOption, call_of, duration
from tocsin.cli.output import instant
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.contact_method import CHANNELS
from tocsin.domain.notification import shown_address
from tocsin.domain.policy_document import delay_text

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help=f"""The ways in which a user is reached.

    Channels: {", ".join(CHANNELS)}. Who has verified ones is paged over these alone; who has none, over all.

    \b
    Example:
      tocsin users contact add ana@example.org ntfy https://ntfy.example.org/ana-7f3a
      tocsin users contact verify ana@example.org ntfy https://ntfy.example.org/ana-7f3a 12345678

    Next: `tocsin users rule add` says which is used when.
    """,
)
rules = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Which way is used when: notification rules.

    Each says after how long a page goes over a contact method. Without rules, over every usable one at once.
    Something always goes at once.

    \b
    Example:
      tocsin users rule add ana@example.org --after 0s ntfy https://ntfy.example.org/ana-7f3a
      tocsin users rule add ana@example.org --after 5m voice +4915112345678

    Next: `tocsin users rule list EMAIL`.
    """,
)

ChannelArgument = Annotated[str, typer.Argument(metavar="CHANNEL", help=f"One of {', '.join(CHANNELS)}.")]
NewAddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="An e-mail address, a URL, a phone number, or Slack's id.")
]
AddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="Its address, or its id as `contact list` shows it.")
]


@commands.command()
def add(
    context: typer.Context,
    email: EmailArgument,
    channel: ChannelArgument,
    address: NewAddressArgument,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add a way to reach a user. A code goes over it, to be given back with `verify`.

    \b
    Example:
      tocsin users contact add ana@example.org sms +4915112345678

    Next: `tocsin users contact verify ana@example.org sms +4915112345678 CODE`.
    """
    call, shown = call_of(context), shown_address(channel, address)
    added = act(
        call,
        "users contact add",
        f"{email} {channel} {shown}",
        lambda work, actor: contacts.add_method(work, actor, email, channel, address),
    )
    facts = {"id": added, "email": email, "channel": channel, "address": shown}
    words = f"{email} has {channel} {shown} now. A code is on its way there: give it back with `… contact verify`."
    call.answer(facts, lambda: call.say(words))


@commands.command("list")
def list_(context: typer.Context, email: EmailArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List the ways in which a user is reached.

    With what came of the last code or test over each. URLs are shown without what follows the host, for that is
    often a secret.

    \b
    Example:
      tocsin users contact list ana@example.org

    Next: `tocsin users contact add EMAIL CHANNEL ADDRESS`, `tocsin users contact send-code …`.
    """
    call = call_of(context)
    found = act(call, "users contact list", email, lambda work, actor: contacts.list_methods(work, actor, email))

    def tell() -> None:
        rows = [
            (
                row.channel,
                row.address,
                instant(row.verified_at) if row.verified_at else "no",
                "yes" if row.used else "no",
                row.last_answer or "-",
                str(row.id),
            )
            for row in found
        ]
        call.table(("CHANNEL", "ADDRESS", "VERIFIED", "USED", "LAST ANSWER", "ID"), rows)

    call.answer({"contacts": found}, tell)


@commands.command()
def remove(
    context: typer.Context,
    email: EmailArgument,
    channel: ChannelArgument,
    address: AddressArgument,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Remove a way to reach a user, and the rules over it.

    The last one of somebody with a duty stays.

    \b
    Example:
      tocsin users contact remove ana@example.org email ana.old@example.org

    Next: `tocsin users contact list ana@example.org`.
    """
    shown = shown_address(channel, address)
    _on_method(context, "remove", email, channel, address, contacts.remove_method, f"{shown} is not used any more.")


@commands.command("send-code")
def send_code(
    context: typer.Context,
    email: EmailArgument,
    channel: ChannelArgument,
    address: AddressArgument,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Send another code over a contact method. It is good for 15 minutes and 5 tries; the one before is not any more.

    \b
    Example:
      tocsin users contact send-code ana@example.org email ana@example.org

    Next: `tocsin users contact verify EMAIL CHANNEL ADDRESS CODE`.
    """
    _on_method(context, "send-code", email, channel, address, verification.send_code, "A code is on its way.")


@commands.command()
def verify(
    context: typer.Context,
    email: EmailArgument,
    channel: ChannelArgument,
    address: AddressArgument,
    code: Annotated[str, typer.Argument(metavar="CODE", help="The eight digits that came.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Give back the code that came over a contact method.

    \b
    Example:
      tocsin users contact verify ana@example.org email ana@example.org 12345678

    Next: `tocsin users contact test EMAIL CHANNEL ADDRESS`.
    """
    call, shown = call_of(context), shown_address(channel, address)

    async def operate(work: Work, actor: Actor) -> verification.Answered:
        contact_id = await contacts.find_method(work, email, channel, address)
        return await verification.take_code(work, actor, contact_id, code)

    act(call, "users contact verify", f"{email} {channel} {shown}", operate).require_right()
    facts = {"email": email, "channel": channel, "address": shown, "verified": True}
    call.answer(facts, lambda: call.say(f"{email} is reached by {channel} at {shown}: verified."))


@commands.command("test")
def send_trial(
    context: typer.Context,
    email: EmailArgument,
    channel: ChannelArgument,
    address: AddressArgument,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Send a test over a contact method. The worker sends it; `contact list` shows the answer.

    \b
    Example:
      tocsin users contact test ana@example.org voice +4915112345678

    Next: `tocsin users contact list EMAIL`.
    """
    _on_method(context, "test", email, channel, address, verification.send_test, "A test is on its way.")


def _on_method(
    context: typer.Context,
    verb: str,
    email: str,
    channel: str,
    address: str,
    use_case: Callable[[Work, Actor, UUID], Awaitable[object]],
    words: str,
) -> None:
    call, shown = call_of(context), shown_address(channel, address)

    async def operate(work: Work, actor: Actor) -> UUID:
        contact_id = await contacts.find_method(work, email, channel, address)
        await use_case(work, actor, contact_id)
        return contact_id

    contact_id = act(call, f"users contact {verb}", f"{email} {channel} {shown}", operate)
    facts = {"id": contact_id, "email": email, "channel": channel, "address": shown}
    call.answer(facts, lambda: call.say(words))


@rules.command("add")
def rule_add(
    context: typer.Context,
    email: EmailArgument,
    channel: ChannelArgument,
    address: AddressArgument,
    after: Annotated[str, typer.Option(metavar="DURATION", help="How long after the page: 0s, 5m, 1h30m.")] = "0s",
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add a rule.

    After so long without acknowledgment, a page goes over this contact method.

    \b
    Example:
      tocsin users rule add ana@example.org --after 5m voice +4915112345678

    Next: `tocsin users rule list ana@example.org`.
    """
    call, delay, shown = call_of(context), duration(after), shown_address(channel, address)

    async def operate(work: Work, actor: Actor) -> UUID:
        contact_id = await contacts.find_method(work, email, channel, address)
        return await contacts.add_rule(work, actor, contact_id, delay)

    rule_id = act(call, "users rule add", f"{email} {channel} {shown} {after}", operate)
    when = f"{delay_text(delay)} after the page" if delay else "at once"
    words = f"{email} is paged by {channel} at {shown} {when}."
    call.answer({"id": rule_id, "email": email, "afterSeconds": int(delay.total_seconds())}, lambda: call.say(words))


@rules.command("list")
def rule_list(context: typer.Context, email: EmailArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List a user's rules, and what a page to them consists of by these.

    \b
    Example:
      tocsin users rule list ana@example.org

    Next: `tocsin users rule remove ID`.
    """
    call = call_of(context)
    found = act(call, "users rule list", email, lambda work, actor: contacts.list_rules(work, actor, email))

    def tell() -> None:
        rows = [(_after(row.after_seconds), row.channel, row.address, str(row.id)) for row in found.rules]
        call.table(("AFTER", "CHANNEL", "ADDRESS", "ID"), rows)
        for one in found.plan:
            call.say(f"A page goes by {one.channel} to {one.address}: {_after(one.after_seconds)}.")
        if not found.plan:
            call.say("No page reaches them: they are shut out, or have no contact method.")

    call.answer(found, tell)


def _after(seconds: int) -> str:
    return f"after {delay_text(timedelta(seconds=seconds))}" if seconds else "at once"


@rules.command("remove")
def rule_remove(
    context: typer.Context,
    rule_id: Annotated[UUID, typer.Argument(metavar="ID", help="The rule's id, as `rule list` shows it.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Remove a rule.

    \b
    Example:
      tocsin users rule remove 0195a0c0-0000-7000-8000-000000000001

    Next: `tocsin users rule list EMAIL`.
    """
    call = call_of(context)
    act(
        call,
        "users rule remove",
        str(rule_id),
        lambda work, actor: contacts.remove_rule(work, actor, rule_id),
    )
    call.answer({"id": rule_id}, lambda: call.say("The rule is gone."))
