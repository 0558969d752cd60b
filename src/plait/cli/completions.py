"""What the shell offers for arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def complete_run(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids of the newest runs that begin so, with what they are."""
    from click.shell_completion import CompletionItem

    from plait import bootstrap

    try:
        found = ctx.find_object(dict)
        store = bootstrap.open_store(bootstrap.load_settings(found.get("db") if found else None), sweep=False)
        rows = store.list_runs(limit=100)
        store.close()
    except Exception:  # noqa: BLE001  a shell that completes shows no errors
        return []
    return [
        CompletionItem(row.run_id, help=f"{row.workflow}, {row.state}")
        for row in rows
        if row.run_id.startswith(incomplete)
    ]
