"""The report as one page of HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from codezero.driver.records import Record
from codezero.driver.report import Report, histogram, ratio

EDGES = (1.0 + 1e-9, 1.01, 1.02, 1.03, 1.05, 1.075, 1.10, 1.15, 1.25)
MOST_PASSES = 24

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #667085; --line: #e3e7ee; --page: #fff;
  --bar: #2f6fde; --none: #b8c0cc; --good: #14784a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf0; --soft: #98a2b3; --line: #2c3442;
  --page: #12161d; --bar: #6ea2ff; --none: #4a5464; --good: #5fd3a0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2.5rem 0 .75rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); }
.figures { display: flex; flex-wrap: wrap; gap: 2.5rem; margin: 1.75rem 0 0; }
.figures b { display: block; font-size: 1.9rem; line-height: 1.2; font-weight: 600; }
.figures .good { color: var(--good); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font-size: 12px; }
svg .count { fill: var(--ink); } svg .bar { fill: var(--bar); } svg .none { fill: var(--none); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--soft); }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; } td.name { overflow-wrap: anywhere; }
td.passes { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; max-width: 24rem; }
tr.total td { font-weight: 600; }
"""


def render(report: Report) -> str:
    """The page."""
    saved = report.baseline - report.size
    last = max((record.time for record in report.records), default=0.0)
    share = saved / max(report.baseline, 1)
    cached = sum(record.cached for record in report.measured)
    figures = (
        _figure(f"{share:.1%}", "smaller than clang -Oz", good=share > 0),
        _figure(f"{saved:,}", f"bytes of {report.baseline:,} saved"),
        _figure(f"{report.geometric_mean:.3f}", "geometric mean of -Oz over ours"),
        _figure(f"{len(report.measured):,}", f"objects, {cached:,} of them from the cache"),
        _figure(f"{report.seconds:,.1f} s", "to choose their passes"),
    )
    parts = [
        f"<h1>{escape(report.folder.name or '/')}</h1>",
        f"<p class='soft'>{escape(str(report.folder))} &middot; code, constants and values of "
        f"variables, as codezero-cc made them &middot; "
        f"{datetime.fromtimestamp(last):%Y-%m-%d %H:%M}</p>",
        f"<div class='figures'>{''.join(figures)}</div>",
        "<h2>How much smaller</h2>",
        "<p class='soft'>Objects by the size of -Oz over ours.</p>",
        _histogram(report.measured),
        "<h2>Passes in the lists that were chosen</h2>",
        "<p class='soft'>With the bytes that those lists saved, all their passes together.</p>",
        _passes(report),
        "<h2>Objects</h2>",
        _objects(report),
        _linked(report),
        _left_alone(report),
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(report.folder.name)}: smaller than -Oz</title>"
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _figure(number: str, words: str, good: bool = False) -> str:
    kind = " class='good'" if good else ""
    return f"<div><b{kind}>{number}</b><span class='soft'>{words}</span></div>"


def _histogram(measured: Sequence[Record]) -> str:
    counts = histogram(map(ratio, measured), EDGES)
    edges = [f"{edge:.3f}".rstrip("0").rstrip(".") for edge in EDGES]
    names = ["none", f"&lt; {edges[1]}", *edges[1:]]
    height, width, step = 150, 900, 900 / len(counts)
    bars = []
    for k, (count, name) in enumerate(zip(counts, names, strict=True)):
        tall = round(height * count / max(*counts, 1))
        x = k * step
        kind = "none" if k == 0 else "bar"
        bars.append(
            f"<rect class='{kind}' x='{x + 6:.1f}' y='{height + 20 - tall}' "
            f"width='{step - 12:.1f}' height='{tall}' rx='2'/>"
            f"<text class='count' x='{x + step / 2:.1f}' y='{height + 14 - tall}' "
            f"text-anchor='middle'>{count or ''}</text>"
            f"<text x='{x + step / 2:.1f}' y='{height + 38}' text-anchor='middle'>{name}</text>"
        )
    return (
        f"<svg viewBox='0 0 {width} {height + 46}' role='img' "
        f"aria-label='Histogram of ratios'>{''.join(bars)}</svg>"
    )


def _passes(report: Report) -> str:
    shown = report.passes[:MOST_PASSES]
    most = max((saved for _, _, saved in shown), default=1) or 1
    bars = []
    for k, (name, lists, saved) in enumerate(shown):
        y, wide = 22 * k, round(480 * max(saved, 0) / most)
        words = f"{saved:,} bytes, {lists:,} object{'s' if lists > 1 else ''}"
        bars.append(
            f"<text class='count' x='210' y='{y + 15}' text-anchor='end'>{escape(name)}</text>"
            f"<rect class='bar' x='220' y='{y + 3}' width='{wide}' height='15' rx='2'/>"
            f"<text x='{228 + wide}' y='{y + 15}'>{words}</text>"
        )
    height = max(22 * len(shown), 1)
    return f"<svg viewBox='0 0 900 {height}' role='img'>{''.join(bars)}</svg>"


def _objects(report: Report) -> str:
    saved = report.baseline - report.size
    total = [
        *("all", f"{report.baseline:,}", f"{report.size:,}", f"{saved:,}"),
        *(f"{report.baseline / max(report.size, 1):.3f}", ""),
    ]
    rows = [_row(total, kind="total"), *(_record(report, record) for record in report.measured)]
    return _table(["object", "-Oz", "ours", "saved", "-Oz over ours", "passes"], rows)


def _linked(report: Report) -> str:
    if not report.linked:
        return ""
    rows = [_record(report, record) for record in report.linked]
    head = ["linked", "lld's passes", "ours", "saved", "lld's over ours", "passes"]
    return f"<h2>Linked as a whole</h2>{_table(head, rows)}"


def _table(head: Sequence[str], rows: Iterable[str]) -> str:
    return f"<table>{_row(head, 'th')}{''.join(rows)}</table>"


def _record(report: Report, record: Record) -> str:
    return _row(
        [
            escape(report.name(record)),
            f"{record.baseline:,}",
            f"{record.size:,}",
            f"{record.baseline - record.size:,}",
            f"{ratio(record):.3f}",
            escape(" ".join((*record.passes, *record.codegen)) or record.reason),
        ]
    )


def _row(cells: Iterable[str], tag: str = "td", kind: str = "") -> str:
    classes = ("name", "n", "n", "n", "n", "passes")
    parts = (
        f"<{tag} class='{name}'>{cell}</{tag}>" for name, cell in zip(classes, cells, strict=True)
    )
    return f"<tr class='{kind}'>{''.join(parts)}</tr>\n"


def _left_alone(report: Report) -> str:
    if not report.left_alone:
        return ""
    items = "".join(
        f"<li>{count:,}: {escape(reason)}</li>" for reason, count in report.left_alone.most_common()
    )
    return f"<h2>Left to clang</h2><ul class='soft'>{items}</ul>"
