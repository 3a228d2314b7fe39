"""Style of the pages: one sheet inside each page, for light and dark, narrow and wide screens."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

SERIES: Final = 5
"""Number of colours for lines; each also has a dash pattern and a mark of its own."""

# Okabe and Ito (2008), Color Universal Design: told apart with any colour vision. The light ones are darkened for
# white paper, and the dark ones lightened for a dark one, so that each has a contrast of 3 or more.
CSS: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d1f21;--grey:#565b60;--faint:#d5d8db;--panel:#f5f6f7;--link:#0059a3;
--c1:#0072b2;--c2:#c04e00;--c3:#00805d;--c4:#a8578a;--c5:#8a6100;--others:#8b9096;--good:#00694c;--warn:#8a4b00;--bad:#a8232b}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e8eaec;--grey:#a9b0b6;--faint:#3a4046;--panel:#1d2125;
--link:#7cc0f4;--c1:#56b4e9;--c2:#f08030;--c3:#2fc79a;--c4:#e39cc4;--c5:#e6b422;--others:#7d848b;--good:#4fd3a9;--warn:#f2b04a;--bad:#ff8a8a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header,main,footer{max-width:76rem;margin:0 auto;padding:0 1rem}
header{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;align-items:baseline;padding-top:.75rem;padding-bottom:.75rem;border-bottom:1px solid var(--faint)}
header p{margin:0;font-weight:700}
nav ul{display:flex;gap:1rem;margin:0;padding:0;list-style:none}
a{color:var(--link);text-underline-offset:.15em}
a:focus-visible,.scroll:focus-visible{outline:3px solid var(--c2);outline-offset:2px}
.skip{position:absolute;left:-999rem}
.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.5rem}
h1{font-size:1.6rem;line-height:1.25;margin:1.25rem 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .5rem}
.lead{color:var(--grey);margin:0 0 1rem}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.75rem;margin:1rem 0;padding:0}
.facts div{background:var(--panel);border:1px solid var(--faint);border-radius:.4rem;padding:.6rem .8rem}
.facts dt{color:var(--grey);font-size:.85rem}
.facts dd{margin:0;font-size:1.05rem;overflow-wrap:anywhere}.facts dd a{display:inline-block}
time{white-space:nowrap}
.note{background:var(--panel);border-left:.3rem solid var(--grey);padding:.6rem .8rem;margin:1rem 0;overflow-wrap:anywhere}
.note.open{border-color:var(--c5)}.note.degraded{border-color:var(--warn)}.note.stuck{border-color:var(--bad)}
.scroll{overflow-x:auto;margin:.5rem 0 1rem}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;white-space:nowrap;color:var(--grey);padding:.2rem 0;font-size:.9rem}
th,td{padding:.3rem .7rem .3rem 0;text-align:left;vertical-align:top;white-space:nowrap;border-bottom:1px solid var(--faint)}
th{font-weight:600}
@media (max-width:34rem){.stacked thead{display:none}.stacked tr,.stacked th,.stacked td{display:block;border:0;white-space:normal;min-width:0}
.stacked tr{border-bottom:1px solid var(--faint);padding:.3rem 0}.stacked th,.stacked td{padding:.1rem 0}
.stacked td::before{content:attr(data-title) ": ";color:var(--grey)}}
.number{text-align:right}
.text{min-width:14rem;max-width:32rem;white-space:normal;overflow-wrap:anywhere}
.key{font-family:ui-monospace,monospace;font-size:.85em;overflow-wrap:anywhere}
.state{border:1px solid currentColor;border-radius:.3rem;padding:0 .35rem;white-space:nowrap;font-size:.9em}
.well,.scored,.set,.completed{color:var(--good)}.degraded,.excused,.failed,.open,.intended{color:var(--warn)}
.stuck,.rejected,.lost{color:var(--bad)}.note.note{color:var(--ink)}
svg{display:block;width:100%;max-width:42rem;min-width:22rem;height:auto;font:14px system-ui,sans-serif}
@media (max-width:34rem){svg{font-size:17px}}
svg text{fill:var(--ink)}svg .soft{fill:var(--grey)}
svg .grid{stroke:var(--faint);stroke-width:1}
svg .others{stroke:var(--others);fill:none;stroke-width:1}
svg .bar{fill:var(--c1)}svg .band{fill:var(--panel);stroke:var(--faint);stroke-dasharray:4 3}
svg .line{fill:none;stroke-width:2}svg .error{stroke-width:1.2}svg .hollow{fill:var(--paper);stroke:var(--c5);stroke-width:2}
.s1{stroke:var(--c1);fill:var(--c1)}.s2{stroke:var(--c2);fill:var(--c2)}.s3{stroke:var(--c3);fill:var(--c3)}
.s4{stroke:var(--c4);fill:var(--c4)}.s5{stroke:var(--c5);fill:var(--c5)}
.s2.line{stroke-dasharray:8 4}.s3.line{stroke-dasharray:2 3}.s4.line{stroke-dasharray:10 3 2 3}.s5.line{stroke-dasharray:5 5}
figure{margin:1rem 0}figcaption{color:var(--grey);font-size:.9rem}
img{max-width:100%;height:auto;background:#fff}
footer{color:var(--grey);font-size:.88rem;border-top:1px solid var(--faint);margin-top:2.5rem;padding-top:.75rem;padding-bottom:1.5rem}
"""

_DIGEST: Final = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Content security policy: no script, no other host, and no style but `CSS`."""
