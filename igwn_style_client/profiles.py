"""Connections that the user has given names to, in a file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import toml

__all__ = ["names", "path", "read"]

_TABLE = "profiles"
_WORDS = {str: "text", int: "a whole number", bool: "true or false", Mapping: "a table"}


def path() -> Path:
    """Where the file lies, if there is one: in ``$XDG_CONFIG_HOME`` or ``~/.config``."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(home) if os.path.isabs(home) else Path.home() / ".config"
    return folder / "igwn-style-client" / "config.toml"


def names() -> list[str]:
    """Return the names of the profiles.

    Raises
    ------
    ValueError
        The file cannot be read or is no such file.
    """
    return sorted(_profiles(_content()))


def read(profile: str | None, known: Mapping[str, type]) -> dict[str, Any]:
    """Return the settings of a profile, over those that stand before all profiles.

    Parameters
    ----------
    profile
        Its name; None: only those that stand before all profiles.
    known
        What may be set, and what it is.  Dashes count as underscores.

    Raises
    ------
    ValueError
        The file cannot be read or is no such file, has no such profile, sets what is not known, or
        what is something else.
    """
    content = _content()
    profiles = _profiles(content)
    if profile is not None and profile not in profiles:
        there = ", ".join(sorted(profiles)) or "none"
        raise ValueError(f'there is no profile "{profile}" in {path()}; there are: {there}')
    common = {name: value for name, value in content.items() if name != _TABLE}
    own = {} if profile is None else profiles[profile]
    return {**_settings(common, known), **_settings(own, known)}


def _content() -> Mapping[str, Any]:
    try:
        return toml.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(f"cannot read {path()}: {error.strerror}") from error
    except (toml.TomlDecodeError, UnicodeDecodeError, IndexError) as error:  # toml's own slips
        raise ValueError(f"{path()} is no TOML: {error}") from error


def _profiles(content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    profiles = content.get(_TABLE, {})
    if not isinstance(profiles, Mapping) or not all(
        isinstance(one, Mapping) for one in profiles.values()
    ):
        raise ValueError(f"{path()}: a profile begins with the line [{_TABLE}.NAME]")
    return profiles


def _settings(given: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    settings = {}
    for name, value in given.items():
        one = name.replace("-", "_")
        if one not in known:
            near = difflib.get_close_matches(one, known, 1)
            hint = f"; is {near[0].replace('_', '-')} meant?" if near else ""
            choice = ", ".join(sorted(known)).replace("_", "-")
            raise ValueError(f'{path()}: "{name}" cannot be set{hint or f"; {choice} can"}')
        if not isinstance(value, known[one]) or isinstance(value, bool) != (known[one] is bool):
            raise ValueError(f'{path()}: "{name}" must be {_WORDS[known[one]]}')  # and no value
        settings[one] = value
    return settings
