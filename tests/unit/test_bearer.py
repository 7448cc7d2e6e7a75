"""Tokens from a command."""

import base64
import json
import time

import pytest
from hop.auth import Auth, SASLMethod

from igwn_style_client import CredentialError
from igwn_style_client.bearer import settings_of


def token(seconds=600, **claims):
    claims = {"sub": "astronomer", "exp": time.time() + seconds, **claims}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2lnbmVk"


def auth(command):
    return Auth("astronomer", "", method=SASLMethod.OAUTHBEARER, token_command=command)


def test_other_credentials_have_no_command():
    assert settings_of(None) == {}
    assert settings_of(Auth("a", "b")) == {}
    assert settings_of(Auth("a", "b", token_endpoint="https://example.org/token")) == {}


def test_the_first_token_is_handed_out_once(tmp_path):
    first, second = token(), token(700)
    printed = tmp_path / "token"
    printed.write_text(first)
    give = settings_of(auth(f"cat {printed}"))["oauth_cb"]
    printed.write_text(second)
    assert give(None)[0] == first
    given, end, subject, extensions = give(None)
    assert (given, subject, extensions) == (second, "astronomer", {})
    assert abs(end - time.time() - 700) < 60


def test_a_token_that_ends_soon_is_asked_for_again(tmp_path):
    printed = tmp_path / "token"
    printed.write_text(token(2))
    give = settings_of(auth(f"cat {printed}"))["oauth_cb"]
    printed.write_text(token())
    assert give(None)[0] == printed.read_text()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("echo SECRET >&2; exit 3", "exit status 3"),
        ("no-such-command SECRET", "exit status 127"),
        ("echo SECRET", "printed no bearer token"),
        ("echo SECRET.SECRET.SECRET", "printed no bearer token"),
        ("printf '\\377SECRET'", "printed no bearer token"),
        (f"echo {token(-5, secret='SECRET')}", "has expired"),
        (f"echo {token(exp='soon')}", "printed no bearer token"),
        (f"echo {token(exp=None)}", "printed no bearer token"),
        ("true", "printed no bearer token"),
        ("echo a\0b", "cannot be run"),
    ],
)
def test_what_fails_is_told_without_secrets(command, says):
    with pytest.raises(CredentialError, match=says) as raised:
        settings_of(auth(command))
    assert "SECRET" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_command_that_does_not_end():
    with pytest.raises(CredentialError, match=r"did not end within 0\.2 s"):
        settings_of(auth("sleep 30"), seconds=0.2)
