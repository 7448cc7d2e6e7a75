"""A callback listener for astronomical alerts over Kafka that does not lose any.

>>> from igwn_style_client import client
>>> alerts = client(group="gracedb-playground", noauth=True)
"""

import importlib
import typing

from ._version import __version__
from .alert import Alert
from .client import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_BATCH_TIMEOUT,
    DEFAULT_GROUP,
    DEFAULT_LISTEN_RETRIES,
    DEFAULT_PORT,
    DEFAULT_RETRY_WAIT,
    DEFAULT_SERVER,
    IGWNAlertClient,
    client,
)
from .errors import (
    ArchiveError,
    ArchiveFull,
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachable,
    ClientError,
    CredentialError,
    CredentialFileMissing,
    DecodeError,
    NotConnected,
    PublishError,
    SettingsRefused,
    StreamError,
    ThumbnailError,
    TopicNotFound,
)
from .health import Health

if typing.TYPE_CHECKING:
    from .archive import Archive
    from .broker import EmbeddedBroker
    from .doctor import Check
    from .receipts import Receipt, Unconfirmed
    from .replaying import replay
    from .simulation import simulate
else:
    # What a listener does without is imported when its name is first asked for.
    _ROOMS = {
        "Archive": "archive",
        "Check": "doctor",
        "EmbeddedBroker": "broker",
        "Receipt": "receipts",
        "Unconfirmed": "receipts",
        "replay": "replaying",
        "simulate": "simulation",
    }

    def __getattr__(name):
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_ROOMS[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *_ROOMS})


__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_BATCH_TIMEOUT",
    "DEFAULT_GROUP",
    "DEFAULT_LISTEN_RETRIES",
    "DEFAULT_PORT",
    "DEFAULT_RETRY_WAIT",
    "DEFAULT_SERVER",
    "Alert",
    "Archive",
    "ArchiveError",
    "ArchiveFull",
    "AuthenticationError",
    "AuthorizationError",
    "BrokerUnreachable",
    "Check",
    "ClientError",
    "CredentialError",
    "CredentialFileMissing",
    "DecodeError",
    "EmbeddedBroker",
    "Health",
    "IGWNAlertClient",
    "NotConnected",
    "PublishError",
    "Receipt",
    "SettingsRefused",
    "StreamError",
    "ThumbnailError",
    "TopicNotFound",
    "Unconfirmed",
    "__version__",
    "client",
    "replay",
    "simulate",
]
