"""The look of a page: paper, ink, one amber needle. Style sheet and drawings, all inline."""

from __future__ import annotations

import math

CSS = """
:root{color-scheme:light dark;--paper:#f6f3ec;--card:#fdfbf7;--mount:#ece7dc;--line:#ddd6c8;--ink:#26241f;
--soft:#6b6557;--amber:#a8690c;--needle:#c9881f;--cell:#e3ddd0;
--serif:"Iowan Old Style","Palatino Linotype",Palatino,"URW Palladio L",P052,Charter,Georgia,serif;
--sans:ui-sans-serif,system-ui,-apple-system,"Segoe UI","Noto Sans","DejaVu Sans",sans-serif}
@media (prefers-color-scheme:dark){:root{--paper:#181714;--card:#211f1b;--mount:#2a2822;--line:#3a372f;--ink:#ece7db;
--soft:#a79f8d;--amber:#e0a545;--needle:#e0a545;--cell:#2b2923}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.6 var(--sans);overflow-wrap:anywhere}
header,main,footer{max-width:68rem;margin:0 auto;padding:0 clamp(1rem,4vw,2.5rem)}
header{display:flex;align-items:center;gap:clamp(1rem,4vw,2.25rem);padding-top:clamp(1.75rem,6vw,4rem);
padding-bottom:clamp(1.25rem,4vw,2.5rem)}
header>div{min-width:0}
.dial{flex:none;width:clamp(5rem,16vw,9rem);height:auto}
.dial .arc{fill:none;stroke:var(--soft);stroke-width:1.25}.dial .tick{stroke:var(--soft);stroke-width:1.25}
.dial .cell{fill:var(--cell);stroke:var(--line);stroke-width:.75}
.dial .needle{stroke:var(--needle);stroke-width:2.5;stroke-linecap:round}.dial .hub{fill:var(--needle)}
h1,h2,h3{font-family:var(--serif);font-weight:500;line-height:1.2;text-wrap:balance;margin:0}
h1{font-size:clamp(1.75rem,5vw,2.75rem);letter-spacing:-.01em}
.subtitle{margin:.5rem 0 0;color:var(--soft);max-width:44rem}
section{padding:clamp(1.5rem,4vw,2.5rem) 0;border-top:1px solid var(--line)}
h2{font-size:clamp(1.35rem,3vw,1.7rem);margin-bottom:.75rem}
h3{font-size:1.15rem;margin:1.75rem 0 .5rem}
p{margin:.5rem 0 1rem;max-width:44rem}
.note{color:var(--soft);font-size:.925rem}
.empty{border-left:3px solid var(--needle);padding:.25rem 0 .25rem 1rem}
figure{margin:1rem 0}
figure.wide{max-width:46rem}
figure.wide img{display:block;max-width:100%;height:auto;border-radius:3px;background:#fdfbf7}
figcaption{font-size:.875rem;line-height:1.45;margin-top:.5rem;color:var(--soft)}
.gallery{list-style:none;margin:1rem 0;padding:0;display:grid;gap:1.25rem 1rem;
grid-template-columns:repeat(auto-fill,minmax(min(10.5rem,44vw),1fr))}
.gallery figure{margin:0}
.frame{display:flex;align-items:center;justify-content:center;aspect-ratio:1;background:var(--mount);border-radius:3px;
overflow:hidden}
.frame img{display:block;max-width:100%;max-height:100%;width:100%;height:100%;object-fit:contain}
.frame span{padding:1rem;color:var(--soft);font-size:.85rem;text-align:center}
.gallery figcaption{color:var(--ink)}.gallery small{display:block;color:var(--soft);font-size:.8rem}
.scale{display:flex;align-items:center;gap:.6rem;font-size:.8rem;color:var(--soft);font-variant-numeric:tabular-nums}
.scale svg{flex:1;min-width:0;height:12px;display:block}
.scale .rail{stroke:var(--line);stroke-width:1}.scale .floor{stroke:var(--soft);stroke-width:1.5}
.scale .mark{stroke:var(--needle);stroke-width:3}.scale .under{stroke:var(--soft)}
audio{width:100%;max-width:26rem;height:2.5rem;display:block}
.gallery audio{margin-top:.4rem}
.price{display:flex;flex-wrap:wrap;gap:.35rem 2rem;margin:1rem 0 0;font-variant-numeric:tabular-nums}
.price div{display:flex;flex-direction:column-reverse}
.price dt{font-size:.75rem;letter-spacing:.04em;color:var(--soft)}
.price dd{margin:0;font-family:var(--serif);font-size:1.2rem}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.925rem;font-variant-numeric:tabular-nums;min-width:min(100%,22rem)}
caption{text-align:left;color:var(--soft);font-size:.875rem;padding-bottom:.5rem}
th,td{padding:.45rem 1.5rem .45rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft);font-size:.8rem;white-space:nowrap}
th.n,td.n{text-align:right}
td:last-child,th:last-child{padding-right:0}
footer{padding-bottom:3rem;color:var(--soft);font-size:.825rem}
footer p{margin:0;padding-top:1.25rem;border-top:1px solid var(--line);max-width:none}
a{color:var(--amber)}:focus-visible{outline:2px solid var(--needle);outline-offset:2px}
@media print{section{break-inside:avoid}body{background:#fff}}
"""


def dial(reading: float = 0.64) -> str:
    """The light meter: selenium cells below a scale, a needle at `reading` in 0..1. Decorative, hidden from readers."""
    cells = "".join(
        _hexagon(60 + 13 * (x - 2 * 1.0 + (y % 2) * 0.5), 74 + 11.3 * y) for y in range(2) for x in range(5 - y)
    )
    ticks = "".join(_tick(step / 12, long=step % 3 == 0) for step in range(13))
    x, y = _on_dial(min(1.0, max(0.0, reading)), 41)
    return (
        '<svg class="dial" viewBox="0 0 120 100" aria-hidden="true" focusable="false">'
        f'<path class="arc" d="M{_point(0, 46)} A46 46 0 0 1 {_point(1, 46)}"/>{ticks}{cells}'
        f'<line class="needle" x1="60" y1="60" x2="{x:.1f}" y2="{y:.1f}"/>'
        '<circle class="hub" cx="60" cy="60" r="4"/></svg>'
    )


def scale(value: float, floor: float | None) -> str:
    """A rail 0..1 with a mark at the value, grey below the floor that counts as found, which has a thin mark."""
    kind = "mark" if floor is None or value >= floor else "mark under"
    mark = f'<line class="{kind}" x1="{_percent(value)}" x2="{_percent(value)}" y1="0" y2="12"/>'
    bar = "" if floor is None else f'<line class="floor" x1="{_percent(floor)}" x2="{_percent(floor)}" y1="2" y2="10"/>'
    rail = '<line class="rail" x1="0" x2="100%" y1="6" y2="6"/>'
    return f'<svg aria-hidden="true" focusable="false">{rail}{bar}{mark}</svg>'


def _percent(value: float) -> str:
    return f"{100 * min(0.99, max(0.01, value)):.1f}%"


def _on_dial(share: float, radius: float) -> tuple[float, float]:
    """A point of the dial: 0 is left, 1 is right, over an arc of 140 degrees."""
    angle = math.radians(160 - 140 * share)
    return 60 + radius * math.cos(angle), 60 - radius * math.sin(angle)


def _point(share: float, radius: float) -> str:
    x, y = _on_dial(share, radius)
    return f"{x:.1f} {y:.1f}"


def _tick(share: float, *, long: bool) -> str:
    (x1, y1), (x2, y2) = _on_dial(share, 46), _on_dial(share, 53 if long else 50)
    return f'<line class="tick" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _hexagon(x: float, y: float) -> str:
    corners = [(x + 6.6 * math.sin(k * math.pi / 3), y + 6.6 * math.cos(k * math.pi / 3)) for k in range(6)]
    return f'<polygon class="cell" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}"/>'
