"""What a plain connection to an address meets: its name, its port, its certificate; no Kafka.

librdkafka says of every certificate that it "could not be verified", and of a port that never
answers nothing at all.  This looks by itself, once, when something is wrong already.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any, Literal, NamedTuple

__all__ = ["Finding", "look"]

Step = Literal[
    "name",
    "port",
    "silent",
    "closed",
    "untrusted",
    "expired",
    "early",
    "host",
    "certificate",
    "tls",
]

# X509_V_ERR_... of OpenSSL.
_CERTIFICATE: dict[int, Step] = {
    2: "untrusted",
    7: "untrusted",  # signed by another one of the same name
    18: "untrusted",
    19: "untrusted",
    20: "untrusted",
    21: "untrusted",
    9: "early",
    10: "expired",
    62: "host",
    64: "host",
}
# X509_V_FLAG_NO_CHECK_TIME, which Python has no name for.
_ANY_TIME = 0x200000


class Finding(NamedTuple):
    """How far a connection came, and why no further.

    Attributes
    ----------
    step
        "name": not resolved.  "port": no connection.  "silent": a connection, and then nothing.
        "closed": it was ended when we spoke TLS.  "untrusted", "expired", "early", "host",
        "certificate": what is wrong with the certificate.  "tls": nothing is wrong.
    reason
        The system's own word for it; for a certificate its date, or the names it is for; for a
        good one who signed it, and until when it is valid.
    """

    step: Step
    reason: str = ""


def look(address: str, seconds: float, ca: str | None = None) -> Finding:
    """Connect, speak TLS, and say what happened.

    Parameters
    ----------
    address
        As "host:port".
    seconds
        Longest wait, in which even the name server must have answered.
    ca
        The file with the authorities to trust; None: the certificate is not looked at.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    context = _context(ca)
    found = [Finding("name", "the name server does not answer")]
    end = time.monotonic() + seconds
    # A thread, for nothing can interrupt the question to a name server.
    looking = threading.Thread(target=_look, args=(address, end, ca, context, found), daemon=True)
    looking.start()
    looking.join(seconds)
    return found[-1]


def _look(
    address: str, end: float, ca: str | None, context: ssl.SSLContext, found: list[Finding]
) -> None:
    host, _, port = address.rpartition(":")
    place = (host.strip("[]"), int(port))
    try:
        socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found.append(Finding("name", getattr(error, "strerror", None) or str(error)))
        return
    found.append(Finding("port", "no answer"))
    try:
        with socket.create_connection(place, _left(end)) as plain:
            found.append(Finding("silent"))
            found.append(_speak(plain, place, end, ca, context))
    except TimeoutError:
        return
    except OSError as error:
        found.append(Finding("port", error.strerror or str(error)))


def _speak(
    plain: socket.socket,
    place: tuple[str, int],
    end: float,
    ca: str | None,
    context: ssl.SSLContext,
) -> Finding:
    try:
        certificate = _shake_hands(plain, place, end, context)
    except ssl.SSLCertVerificationError as error:
        step = _CERTIFICATE.get(error.verify_code, "certificate")
        return Finding(step, _detail(step, place, end, ca) or error.verify_message)
    except TimeoutError:
        return Finding("silent")
    except OSError as error:
        return Finding("closed", error.strerror or str(error))
    return Finding("tls", _signature(certificate))


def _signature(certificate: dict[str, Any]) -> str:
    """Say who signed a certificate; empty for one that was not looked at."""
    if not certificate:
        return ""
    signer = {name: value for pairs in certificate["issuer"] for name, value in pairs}
    by = signer.get("organizationName") or signer.get("commonName") or "nobody named"
    return f"signed by {by}, valid until {certificate['notAfter']}"


def _shake_hands(
    plain: socket.socket, place: tuple[str, int], end: float, context: ssl.SSLContext
) -> dict[str, Any]:
    plain.settimeout(_left(end))
    with context.wrap_socket(plain, server_hostname=place[0]) as secure:
        return secure.getpeercert() or {}


def _context(ca: str | None) -> ssl.SSLContext:
    # Not create_default_context(), which is stricter than librdkafka.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    return context


def _detail(step: Step, place: tuple[str, int], end: float, ca: str | None) -> str:
    """Ask once more, taking the certificate as it is, for its date or its names."""
    if step not in ("expired", "host"):
        return ""
    context = _context(ca)
    context.check_hostname = False
    context.verify_flags |= _ANY_TIME
    try:
        with socket.create_connection(place, _left(end)) as again:
            certificate = _shake_hands(again, place, end, context)
    except OSError:
        return ""
    if step == "expired":
        return str(certificate.get("notAfter", ""))
    return ", ".join(str(name) for _, name in certificate.get("subjectAltName", ()))


def _left(end: float) -> float:
    return max(0.05, end - time.monotonic())
