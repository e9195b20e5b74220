"""Say of a model what a person wants to know, in lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proa.cli.models.facts import FAILED, READY, RevisionFacts, Served
from proa.cli.pipelines.steps import format_seconds
from proa.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, Terminal, format_table

COLOURS = {READY: GREEN, FAILED: RED}
BAR = 20


def describe(
    served: Served, terminal: Terminal, now: float, rates: Mapping[str, float] | None = None
) -> list[str]:
    """Return the lines; `rates` are requests a second by pod, None where nobody asked."""
    return list(_lines(served, terminal, now, rates))


def _lines(
    served: Served, terminal: Terminal, now: float, rates: Mapping[str, float] | None
) -> Iterator[str]:
    state = terminal.paint(served.state, COLOURS.get(served.state, YELLOW))
    yield f"{terminal.paint(served.name, BOLD)}  {state}  for {format_seconds(now - served.created)}"
    if served.why and (served.state != READY or served.is_failed):
        yield terminal.paint(f"  {served.why}", RED if served.is_failed else YELLOW)
    for what, value in (
        ("url", served.url),
        ("in the cluster", served.address),
        ("model", " ".join(filter(None, (served.format, served.source)))),
        ("runtime", served.runtime),
    ):
        if value:
            yield f"  {what:<15} {value}"
    if not served.revisions:
        return
    yield ""
    has_rates = rates is not None
    title = ["REVISION", "TRAFFIC", "", "READY", *(["REQ/S"] if has_rates else [])]
    rows = [_row(one, rates) for one in served.revisions]
    table = format_table([title, *rows]).splitlines()
    yield terminal.paint(table[0], DIM)
    yield from table[1:]


def _row(revision: RevisionFacts, rates: Mapping[str, float] | None) -> list[str]:
    bar = "█" * round(BAR * revision.percent / 100)
    tag = f" ({revision.tag})" if revision.tag else ""
    row = [
        f"{revision.name}{tag}",
        f"{revision.percent:>3}%",
        bar.ljust(BAR),
        f"{revision.ready}/{revision.wanted}",
    ]
    if rates is not None:
        told = [rates[pod] for pod in revision.pods if pod in rates]
        row.append(f"{sum(told):.1f}" if told else "")
    return row


def traffic_of(served: Served) -> str:
    """Return who gets how much, on one line."""
    got = [one for one in served.revisions if one.percent]
    return " ".join(f"{one.name.removeprefix(served.name + '-')} {one.percent}%" for one in got)
