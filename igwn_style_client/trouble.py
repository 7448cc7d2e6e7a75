"""What librdkafka says about a connection, and which of our errors it is.

librdkafka reports trouble as events beside whatever was asked, many a second, each for one
address, and goes on trying.  A `Trouble` collects them for one connection and concludes: what
waiting cannot mend at once, the rest when the time is up.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError
from hop.auth import Auth

from .errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachable,
    ClientError,
    CredentialError,
    SettingsRefused,
    StreamError,
    from_kafka,
    kind_of,
)
from .probe import Finding, look

__all__ = ["ANSWER_SECONDS", "Trouble"]

log = logging.getLogger(__name__)

# How long a broker may take for its first answer, so that an error comes within ten seconds.
ANSWER_SECONDS = 8.0
# For how long a refused token is tried again where a login was good; longer than it may take until
# a listener that gets no alerts hears of its broker.
_DOUBT_SECONDS = 75.0
# For how long we look ourselves, and after which share of the time without a word.
_LOOK_SECONDS = 2.0
_LOOK_AFTER = 1 / 3

_EVENT = re.compile(
    r"(?:\w+://)?(?P<address>\S+:\d+)/(?:bootstrap|\d+): "
    r"(?P<text>.*?)(?: \(after \d+ms in state .*)?",
    re.DOTALL,
)
_NO_TOKEN = "Failed to acquire SASL OAUTHBEARER token: "  # noqa: S105
_WRONG_LOGIN = (
    "the user name, the password or the mechanism is wrong, or the account is no longer there"
)
_FINAL = {"untrusted", "expired", "early", "host", "certificate"}


class Trouble:
    """What is wrong with a connection.

    librdkafka's callbacks write it in whichever thread polls; who polls asks it.

    Parameters
    ----------
    brokers
        Addresses as "host:port".
    auth
        The credential; None for an unauthenticated session.
    login
        Who logs in, how, and where the credential came from; it is part of sentences.
    options
        Settings of librdkafka.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        auth: Auth | None,
        login: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._brokers = list(brokers)
        self._names = ", ".join(brokers)
        self._auth = auth
        self._mechanism = str(auth.mechanism) if auth else ""
        self._login = login or _login(auth)
        settings = {**(auth() if auth else {}), **(options or {})}
        self._tls = str(settings.get("security.protocol", "")).upper().endswith("SSL")
        verified = (
            str(settings.get("enable.ssl.certificate.verification", True)).lower() != "false"
            and str(settings.get("ssl.endpoint.identification.algorithm", "")).lower() != "none"
        )
        self._ca = settings.get("ssl.ca.location") if verified else None
        self._secret = auth.password if auth else None
        self.refused: KafkaError | None = None
        self.begin()

    def begin(self, seconds: float = ANSWER_SECONDS) -> None:
        """Begin anew: what was said before counts only if nothing is said from now on."""
        self._met = False
        self._refused_before, self.refused = self.refused, None
        self._doubt: tuple[float, KafkaError] | None = None
        self._all_down = False
        self._said: dict[str, KafkaError] = {}
        self._found: dict[str, Finding] = {}
        self.expect(seconds)

    def expect(self, seconds: float) -> None:
        """Expect the first answer within `seconds` from now."""
        self._begun = time.monotonic()
        self._end = self._begun + seconds

    def reached(self) -> None:
        """Note that a broker has answered: whatever was said before is over."""
        self._met = True
        self._refused_before = self._doubt = None
        if self._said or self._all_down:
            self._all_down = False
            self._said.clear()
            self._found.clear()

    @property
    def met(self) -> bool:
        """Whether a broker has ever answered."""
        return self._met

    def note(self, error: KafkaError) -> None:
        """Take an event of librdkafka: its ``error_cb``."""
        code = error.code()
        if code == KafkaError._ALL_BROKERS_DOWN:
            self._all_down = True
        elif kind_of(error) is AuthenticationError:
            if self._met and _NO_TOKEN in error.str():
                # The token that we have is still good for a while, and it is asked for again.
                log.warning("%s", self._refusal(error))
            elif self._met and self._mechanism == "OAUTHBEARER":
                # A token has ended before the next one was there; with that it may go on.
                if self._doubt is None:
                    self._doubt = (time.monotonic(), error)
                    log.warning("%s; trying again", self._refusal(error))
            else:
                self.refused = error
        elif kind_of(error) is BrokerUnreachable and (event := _EVENT.fullmatch(error.str())):
            self._said[event["address"]] = error

    # -- conclusions -----------------------------------------------------------------------------

    def conclusion(self) -> StreamError | None:
        """Return why no broker answers; None while one may yet.

        May take two seconds, once, to look for itself.
        """
        if self._doubt is not None and time.monotonic() - self._doubt[0] > _DOUBT_SECONDS:
            self.refused = self._doubt[1]
        if self.refused is not None:
            return self._refusal(self.refused)
        if self._met:
            return None
        now = time.monotonic()
        self._look(now - self._begun)
        if all(self._is_final(broker) for broker in self._brokers):
            self._refused_before = None
            return self.unreachable("cannot connect to")
        return self.unreachable() if now >= self._end else None

    def unreachable(self, verb: str = "no answer from") -> StreamError:
        """Return what is known of why no broker answers, whether or not one may yet."""
        doubted = None if self._doubt is None else self._doubt[1]
        if refused := self.refused or doubted or self._refused_before:
            return self._refusal(refused)
        self._look(math.inf)
        seconds = time.monotonic() - self._begun
        within = f" within {seconds:.0f} s" if verb == "no answer from" and seconds >= 0.5 else ""
        # A broker may name others, which are then connected to.
        others = [one for one in self._said if one not in self._brokers]
        reasons = {broker: self._reason(broker) for broker in [*self._brokers, *others]}
        error = next(iter(self._said.values()), KafkaError(KafkaError._TRANSPORT))
        if len(reasons) == 1:
            text = f"{verb} {self._names}{within}: {next(iter(reasons.values()))}"
        else:
            each = "; ".join(f"{broker}: {reason}" for broker, reason in reasons.items())
            text = f"{verb} {self._names}{within}. {each}"
        return BrokerUnreachable(text, error)

    def not_allowed(self, error: KafkaError, doing: str) -> StreamError:
        """Translate an error of the broker for what was tried, such as ``read "topic"``."""
        if kind_of(error) is AuthorizationError:
            who = self._login or "a session without a login"
            text = (
                f"not allowed to {doing} on {self._names}, as {who}: {_ask(error)} "
                f"({self._clean(error.str())})"
            )
            return AuthorizationError(text, error)
        return from_kafka(error, f"could not {doing} on {self._names}")

    def settings_refused(self, error: KafkaError) -> ClientError:
        """Say that librdkafka does not take its settings, of which the user gave some."""
        if self._ca and "ssl.ca.location" in error.str():
            why = error.str().rpartition("failed: ")[2]
            return CredentialError(f"{self._ca} cannot be used as a file of CA certificates: {why}")
        kind = SettingsRefused if error.code() == KafkaError._INVALID_ARG else StreamError
        return kind(f"options: librdkafka does not take these settings: {error.str()}", error)

    def _refusal(self, error: KafkaError) -> StreamError:
        event = _EVENT.fullmatch(error.str())
        where, text = (event["address"], event["text"]) if event else (self._names, error.str())
        text = self._clean(text)
        if text.startswith(_NO_TOKEN):
            source = self._auth.token_endpoint if self._auth else None
            reason = text.removeprefix(_NO_TOKEN)
            said = f"cannot log in to {where}: no token for {self._login}" + (
                f" from {source}: {reason}" if source else f": {reason}"
            )
        else:
            said = f"{where} refused the login of {self._login}: {self._why_refused(text)}"
        return AuthenticationError(said, error)

    def _why_refused(self, text: str) -> str:
        mechanism = self._mechanism or "this mechanism"
        if offered := re.search(r"Unsupported SASL mechanism: .*mechanisms: (.*)", text):
            return f"it does not take {mechanism}; it offers {offered[1].replace(',', ', ')}"
        if "Request not valid in current SASL state" in text:
            return "it takes no login on this port; noauth=True connects without one"
        text = text.removeprefix("SASL authentication error: ")
        if mechanism == "OAUTHBEARER":
            return f"it does not accept the token ({text})"
        return (
            f"{_WRONG_LOGIN}; compare them with those you were given, or make a new credential "
            f"there ({text})"
        )

    # -- reasons ---------------------------------------------------------------------------------

    def _look(self, waited: float) -> None:
        """Look ourselves, once, where what librdkafka says is too little."""
        enough = (self._end - self._begun) * _LOOK_AFTER
        for broker in self._brokers:
            said = self._said.get(broker)
            if broker in self._found or (said is not None and _explains(said)):
                continue
            in_tls = said is not None and re.search("SSL|certificate", said.str())
            if in_tls or (self._all_down and not self._tls) or waited >= enough:
                left = max(0.2, self._end - time.monotonic())
                seconds = min(_LOOK_SECONDS, left) / len(self._brokers)
                try:
                    found = look(broker, seconds, self._ca if self._tls else None)
                except OSError:  # the CA file itself
                    found = Finding("certificate", f"{self._ca} cannot be read")
                self._found[broker] = found

    def _is_final(self, broker: str) -> bool:
        """Whether waiting cannot mend what is wrong with a broker."""
        found = self._found.get(broker)
        if found is None:
            return False
        return found.step in _FINAL or (found.step == "tls" and not self._tls)

    def _reason(self, broker: str) -> str:
        found, said = self._found.get(broker), self._said.get(broker)
        if found is not None and (reason := self.explain(found, broker.rpartition(":")[0])):
            return reason
        if said is None:
            return "it can be connected to, but has not answered in time"
        text = self._clean(_text(said))
        last = text.rpartition(": ")[2]
        if said.code() == KafkaError._RESOLVE:
            return _name(last)
        if text.startswith("Connect to "):
            return _port(last)
        return f"{text} ({said.name()})"

    def explain(self, found: Finding, host: str) -> str:
        """Put a finding into words, the next step after a semicolon; empty where all is well."""
        whose = "TLS: the server's certificate"
        plain = "this session has no credential"
        if self._auth is not None:
            plain = f"its credential is for {self._auth.protocol}"
        words = {
            "name": _name(found.reason),
            "port": _port(found.reason),
            "silent": "it accepts connections and never answers; is it a Kafka broker, and is a "
            "firewall in between?",
            "untrusted": f"{whose} is not signed by a CA that is trusted here (CA file {self._ca});"
            " give the file of its CA as ssl_ca_location=",
            "expired": f"{whose} expired ({found.reason}); its operators have to renew it, unless "
            "the clock here is wrong",
            "early": f"{whose} is not valid yet; is the clock here right?",
            "host": f"{whose} is for another host name: {found.reason}; give that name in server=,"
            f" not {host}",
            "certificate": f"{whose} cannot be verified: {found.reason}",
            "closed": "TLS: it does not speak TLS, or ends the handshake, and this session's "
            "credential demands it; is the port right? For a server without TLS the credential "
            'needs protocol = "SASL_PLAINTEXT"'
            if self._tls
            else f"it ends the connection; perhaps it demands a login, and {plain}",
            "tls": ""
            if self._tls
            else f"it speaks TLS and this session does not: {plain}; give a credential, or "
            "another port",
        }
        return words[found.step]

    def _clean(self, text: str) -> str:
        """Mask the secret in what others say; in words of ours it would be told by its absence."""
        return text.replace(self._secret, "...") if self._secret else text


def _text(said: KafkaError) -> str:
    event = _EVENT.fullmatch(said.str())
    return event["text"] if event else said.str()


def _explains(said: KafkaError) -> bool:
    return said.code() == KafkaError._RESOLVE or _text(said).startswith("Connect to ")


def _name(reason: str) -> str:
    return f"the name cannot be resolved ({reason}); is it spelled right, and is the network up?"


def _port(reason: str) -> str:
    if "refused" in reason:
        return f"the port is closed ({reason}); does the broker run, and is the port right?"
    return f"the port cannot be reached ({reason}); is a firewall in between?"


def _ask(error: KafkaError) -> str:
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return (
            "ask its operators for the right to this consumer group, or take one whose name "
            "begins with the user name, as SCiMMA demands"
        )
    return "ask its owners for the right to do so"


def _login(auth: Auth | None) -> str:
    return f'user "{auth.username}" by {auth.mechanism}' if auth else ""
