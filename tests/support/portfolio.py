"""The reference portfolio service of examples/, as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).parents[2] / "examples" / "portfolio_server.py"


@contextmanager
def portfolio_service(books: Path, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Serve these books; gives the address. It is killed at the end."""
    command = [sys.executable, str(SERVER), str(books), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().split()[-1]}"
        finally:
            process.kill()
