"""`plait events publish`."""

from __future__ import annotations

import click

from plait.cli.common import open_store, print_json, say, settings
from plait.cli.options import db_option, json_option


@click.command("publish")
@click.argument("name")
@click.option("--data", metavar="JSON", default="null", help="What the event tells, as JSON. Default: nothing.")
@json_option
@db_option
def publishing(name: str, data: str, as_json: bool) -> None:
    """Publish an event called NAME. The workflows that wait for it (schedule=event(NAME)) start, now or when a service
    runs again.

    \b
      plait events publish orders_ready
      plait events publish orders_ready --data '{"region": "eu", "files": 3}'
    """
    from plait.bootstrap.service import publish_event

    value = _value(data)
    with open_store() as store:
        row = publish_event(settings(), store, name, value)
    if as_json:
        print_json({"id": row.id})
    else:
        say(f"{name} is published")


def _value(text: str) -> object:
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise click.BadParameter(
            f"{text!r} is no JSON ({error}); text is written '\"text\"'", param_hint="--data"
        ) from None
