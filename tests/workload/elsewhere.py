"""An audit by a process that knows nothing but the database's address."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-c", "import sys; from trade_engine.cli import main; sys.exit(main())"]


def audit_elsewhere(kind: str, database_url: str) -> dict[str, Any]:
    """What `trade-engine audit` says of a database's one account: counts, faults, clean."""
    done = subprocess.run(
        [*COMMAND, "audit", kind, "--json", "--database-url", database_url],
        stdout=subprocess.PIPE,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
