"""Where a listener sets alerts aside, if nobody has named a place."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

__all__ = ["default_path"]


def default_path(server: str, consumer_group: str | None) -> Path:
    """Where a listener sets alerts aside by default: a file per server and consumer group.

    The user's state folder is ``$XDG_STATE_HOME``, else ``~/.local/state`` or, on macOS,
    ``~/Library/Application Support``.  The folder is not made.

    Parameters
    ----------
    server
        Its address or addresses, written in the same way each time.
    consumer_group
        Kafka's group; None for a listener without one.
    """
    import platformdirs  # who names a place, or only publishes, does without

    names = (server, consumer_group or "")
    readable = "-".join(re.sub(r"[^\w.]+", "_", name, flags=re.ASCII)[:60] for name in names)
    digest = hashlib.blake2b(json.dumps(names).encode(), digest_size=4).hexdigest()
    folder = platformdirs.user_state_path("igwn-style-client", appauthor=False)
    return folder / f"set-aside-{readable}-{digest}.db"
