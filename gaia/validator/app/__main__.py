"""Program of the Supervisor, which the entry point executes: python -m gaia.validator.app <fd>."""

from __future__ import annotations

import sys

from gaia.validator.app.supervisor import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
