"""Every test lives in a house of its own: no credential or setting of the user gets in."""

import json
import os
import tempfile
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "tests.commands", "tests.listening", "tests.listener", "tests.receiving"
)

# Shared fixtures that must not move with HOME: downloads are kept between runs.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "igwn-style-client"

_home = tempfile.TemporaryDirectory(prefix="igwn-style-client-")
os.environ.update(
    HOME=_home.name,
    XDG_CACHE_HOME=str(CACHE.parent),
    XDG_CONFIG_HOME=f"{_home.name}/.config",
    XDG_STATE_HOME=f"{_home.name}/.local/state",
    NETRC=f"{_home.name}/.netrc",
)
for _name in [name for name in os.environ if name.startswith("IGWN_STYLE_CLIENT_")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def recorded():
    """The folder of recorded alerts beside the checkout; skips where it is absent."""
    folder = Path(__file__).parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded alerts: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def recorded_igwn(recorded):
    """Every recorded message of igwn_alert, as (name, object) pairs."""
    files = sorted((recorded / "igwn-alert").glob("*.json"))
    return [(file.stem, json.loads(file.read_bytes())) for file in files]
