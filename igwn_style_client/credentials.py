"""Where a credential comes from, in a fixed order; never logs a secret.

1. ``auth=``, 2. ``noauth=True``, 3. ``username=`` and ``password=``, 4. ``authfile=``,
5. hop's ``auth.toml`` at its default place, 6. netrc (``$NETRC``, else ``~/.netrc``), 7. the
environment.  Only when nothing at all was found is the session unauthenticated.
"""

from __future__ import annotations

import copy
import logging
import netrc
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import certifi
import toml
from hop.auth import (
    AmbiguousCredentialError,
    Auth,
    SASLMethod,
    load_auth,
    select_matching_auth,
)

from .errors import CredentialError, CredentialFileMissing

__all__ = [
    "Credential",
    "describe",
    "find",
    "is_encrypted",
    "of_host",
    "risks",
    "select",
    "variable",
    "with_ca",
]

log = logging.getLogger(__name__)

#: What `client(auth=)` takes: hop's Auth or a list of them; False is unauthenticated.
Credential: TypeAlias = Any

# For containers; USERNAME and PASSWORD also as _FILE, the path of a mounted secret.
_VARIABLES = "IGWN_STYLE_CLIENT_"
_LARGEST_SECRET = 65536  # characters


def find(
    username: str | None,
    password: str | None,
    auth: Credential,
    authfile: str | os.PathLike[str] | None,
    noauth: bool,
    machines: Iterable[str],
) -> Credential:
    """Return the credential to connect with; False for an unauthenticated session.

    Parameters
    ----------
    username, password, auth, authfile, noauth
        As `client` takes them.
    machines
        The names under which the server may stand in a netrc file.

    Raises
    ------
    CredentialError
        Half a credential was given, or a file is missing, unsafe or broken.
    """
    if auth is not None and auth is not True:
        return auth
    if noauth:
        return False
    if username and password:
        return _note(Auth(username, password), "username= and password=")
    if username or password:
        raise CredentialError(
            "You must provide both a username and a password for basic authentication."
        )
    if authfile:
        return _from_auth_toml(Path(authfile))
    default = _hops_file()
    if default is not None:
        return _from_auth_toml(default)
    found = _from_netrc(machines) or _from_environment()
    if found is None:
        warnings.warn(
            "No authentication found. Proceeding with unauthenticated session", stacklevel=3
        )
        return False
    return found


def describe(auth: Auth | None) -> str:
    """Say whose credential it is, how it is presented, and where it came from; never the secret."""
    if auth is None:
        return "no credential"
    origin = getattr(auth, "origin", "auth=")
    return f'user "{auth.username}" by {auth.mechanism}, from {origin}'


def risks(auth: Auth | None, options: Mapping[str, Any]) -> list[str]:
    """Say what a credential and librdkafka's settings leave open to others."""
    settings = {**(auth() if auth else {}), **options}
    if auth is not None and not is_encrypted(auth, options):
        what = "the password and all" if auth.mechanism == "PLAIN" else "all"
        return [f"there is no TLS: {what} that is sent can be read on its way"]
    if _text(settings, "enable.ssl.certificate.verification", "true") in ("false", "f", "0"):
        return ["the server's certificate is not verified: anybody can pose as the server"]
    if _text(settings, "ssl.endpoint.identification.algorithm", "https") == "none":
        return ["the server's host name is not verified: who has any certificate can pose"]
    return []


def is_encrypted(auth: Auth | None, options: Mapping[str, Any]) -> bool:
    """Whether a session uses TLS."""
    settings = {**(auth() if auth else {}), **options}
    return _text(settings, "security.protocol", "plaintext").endswith("ssl")


def _text(settings: Mapping[str, Any], name: str, default: str) -> str:
    """Return a setting as librdkafka reads it: in any case."""
    return str(settings.get(name, default)).lower()


def select(auth: Sequence[Auth] | None, broker: str, username: str | None) -> Auth | None:
    """Choose among the credentials the one for a broker.

    Raises
    ------
    CredentialError
        None fits, or more than one.
    """
    if not auth:
        return None
    try:
        return select_matching_auth(auth, broker, username or None)
    except AmbiguousCredentialError as error:
        raise CredentialError(
            f"{error.message}\nChoose one by its user name in the URL: kafka://USER@{broker}/"
        ) from error
    except RuntimeError as error:
        there = ", ".join(f"{describe(one)}, for {one.hostname or 'any server'}" for one in auth)
        wanted = f' of user "{username}"' if username else ""
        raise CredentialError(
            f"no credential{wanted} for {broker} among: {there}; store one for this server with: "
            "hop auth add (or noauth=True, if it wants none)"
        ) from error


def with_ca(auth: Credential, location: str | None) -> Credential:
    """Let credentials that name no CA of their own trust the one in the file `location`.

    Raises
    ------
    CredentialFileMissing
        There is no such file.
    """
    if location is None or not auth:
        return auth
    if not Path(location).is_file():
        raise CredentialFileMissing(f"ssl_ca_location: there is no file {location!r}")
    if isinstance(auth, (list, tuple)):
        return [_with_ca(one, location) for one in auth]
    return _with_ca(auth, location)


def _with_ca(auth: Auth, location: str) -> Auth:
    if not auth.ssl or auth.ssl_ca_location != certifi.where():
        return auth
    changed = copy.copy(auth)
    changed._config = {
        **auth._config,
        "ssl.ca.location": location,
        "https.ca.location": location,
    }
    return changed


def _hops_file() -> Path | None:
    """Return where hop keeps credentials: auth.toml, or config.toml in its older layout."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hop"
    if os.path.lexists(folder / "auth.toml"):  # also a link that leads nowhere
        return folder / "auth.toml"
    settings = folder / "config.toml"
    if settings.exists() and not settings.is_file():
        return settings  # which hop cannot use either: say so
    try:
        return settings if "auth" in toml.load(settings) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, IndexError, TypeError):  # what toml raises for a broken file
        return settings  # which hop cannot use either: say so


def _from_auth_toml(path: Path) -> list[Auth]:
    if not path.exists():
        raise CredentialFileMissing(f"there is no credential file {str(path)!r}")
    if not path.is_file():
        raise CredentialError(f"{path} is no file")
    try:
        found: list[Auth] = load_auth(str(path))
    except RuntimeError as error:
        raise _explained(path, str(error)) from None
    except KeyError:  # of the names that adc knows
        raise CredentialError(
            f"{path}: its mechanism is none that is known here; SCRAM-SHA-512, SCRAM-SHA-256, "
            "PLAIN and OAUTHBEARER are"
        ) from None
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise CredentialError(f"{path} cannot be read: {type(error).__name__}") from None
    if not found:
        raise CredentialError(f"{path} holds an empty list of credentials")
    return [_note(one, str(path)) for one in found]


def _explained(path: Path, hops_text: str) -> CredentialError:
    if "unsafe permissions" in hops_text:
        return CredentialError(
            f"{path} can be read by others; make it safe with: chmod 0600 {path}"
        )
    if "no auth section" in hops_text:
        return CredentialError(f"{path} has no section [[auth]]; write it anew with: hop auth add")
    if match := re.search(r"missing auth property '\w+'", hops_text):
        return CredentialError(f"{path}: {match[0]}; write it anew with: hop auth add")
    # The rest of what the parser says may quote a password.
    where = re.search(r"\(line \d+", hops_text)
    return CredentialError(
        f"{path} is no credential file of hop"
        + (f": see {where[0][1:]}" if where else "")
        + "; write it anew with: hop auth add"
    )


def _from_netrc(machines: Iterable[str]) -> Auth | None:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        if not os.path.lexists(path):
            return None
        if not path.is_file():
            raise CredentialError(f"{path} is no file, or a link that leads nowhere")
    except OSError as error:
        raise CredentialError(f"{path} cannot be read: {error.strerror}") from None
    if path.stat().st_mode & 0o077:
        raise CredentialError(f"{path} can be read by others; make it safe with: chmod 0600 {path}")
    try:
        entries = netrc.netrc(str(path))
    except netrc.NetrcParseError as error:
        # Its text may quote a password.
        raise CredentialError(
            f"{path} is no netrc file: see its line {error.lineno}; a line of it looks like: "
            "machine HOST login USER password PASSWORD"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"{path} cannot be read: {type(error).__name__}") from None
    for machine in machines:
        # authenticators() would fall back to "default", which is no credential for a broker.
        entry = entries.hosts.get(machine)
        if entry is not None and not (entry[0] and entry[2]):
            raise CredentialError(f"{path}: machine {machine} needs both login and password")
        if entry is not None:
            return _note(Auth(entry[0], entry[2]), str(path))
    log.info("%s has an entry for %s, and none for this server", path, ", ".join(entries.hosts))
    return None


def _from_environment() -> Auth | None:
    username, password = (variable(_VARIABLES + name) for name in ("USERNAME", "PASSWORD"))
    if username is None and password is None:
        return None
    if not (username and password):
        missing = "PASSWORD" if username else "USERNAME"
        raise CredentialError(
            f"the environment holds half a credential: set {_VARIABLES}{missing}, or "
            f"{_VARIABLES}{missing}_FILE to the path of a file that holds it"
        )
    name = os.environ.get(_VARIABLES + "MECHANISM") or "SCRAM-SHA-512"
    methods = {str(one): one for one in SASLMethod if one is not SASLMethod.OAUTHBEARER}
    if name not in methods:
        raise CredentialError(f"{_VARIABLES}MECHANISM must be one of {', '.join(methods)}: {name}")
    return _note(Auth(username, password, method=methods[name]), "the environment")


def variable(name: str) -> str | None:
    """Return a variable's value, or the content of the file that its other form names.

    Raises
    ------
    CredentialError
        Both are set, or the file cannot be read.
    """
    value, path = os.environ.get(name), os.environ.get(name + "_FILE")
    if value and path:
        raise CredentialError(f"both {name} and {name}_FILE are set")
    if not path:
        return value or None
    # What is no path is not repeated: it may be the password, put into the wrong variable.
    shown = f", {path}," if "/" in path else ""
    what = f"the file that {name}_FILE names{shown}"
    try:
        if not Path(path).is_file():
            raise CredentialError(f"{what} does not exist, or is no file")
        with open(path, encoding="utf-8-sig") as file:
            secret = file.read(_LARGEST_SECRET).rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise CredentialError(f"{what} cannot be read: {reason}") from None
    if "\0" in secret:
        raise CredentialError(f"{what} holds a zero byte; it should hold text")
    return secret


def of_host(broker: str) -> Auth | None:
    """Return the credential that hop's auth.toml has for a broker, "host:port", by its name.

    One without a host name may be anybody's, and is shown to nobody here.

    Raises
    ------
    CredentialError
        There are several, or the file is unsafe or broken.
    """
    path = _hops_file()
    host = broker.rpartition(":")[0]
    found = _from_auth_toml(path) if path is not None else []
    return select([one for one in found if one.hostname in (broker, host)], broker, None)


def _note(auth: Auth, origin: str) -> Auth:
    """Note on a credential where it came from."""
    auth.origin = origin
    return auth
