"""Writes docs/reference/chain-refusals.md from refusals that it provokes on a local chain, in a minute or two."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "chain-refusals.md"
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]


def main() -> int:
    from campaigns.chain_refusals.page import page
    from campaigns.refusals import played, violations

    rows = asyncio.run(played())
    if found := violations(rows):
        print("\n".join(found), file=sys.stderr)
        return 1
    PAGE.write_text(page(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
