"""A callback listener for astronomical alerts over Kafka that does not lose any.

>>> from igwn_style_client import client
>>> alerts = client(group="gracedb-playground", noauth=True)
"""

from ._version import __version__
from .alert import Alert
from .archive import Archive
from .broker import EmbeddedBroker
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
from .doctor import Check
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
from .receipts import Receipt, Unconfirmed
from .replaying import replay
from .simulation import simulate

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
