"""Ends with 0 if the validator of this container lives; standard library only, and no proxy is asked."""

import os
import sys
from http.client import HTTPConnection, HTTPException

PATIENCE_S = 4.0


def main() -> int:
    """Ask /livez on the port of the metrics; return 0 for an answer of 200, else 1 and the reason."""
    port = int(os.environ.get("GAIA_METRICS_PORT") or "9090")
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        said = answer.read(4096).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        print(f"/livez does not answer on port {port}: {error}")
        return 1
    finally:
        connection.close()
    print(f"{answer.status} {said}")
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
