"""Connections that the user has given names to."""

from collections.abc import Mapping

import pytest

from igwn_style_client import profiles

KNOWN = {"server": str, "group": str, "consumer_group": str, "port": int, "noauth": bool,
         "options": Mapping}  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the file, in a folder of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def write(text):
        assert profiles.path() == tmp_path / "igwn-style-client" / "config.toml"
        profiles.path().parent.mkdir(exist_ok=True)
        profiles.path().write_text(text)

    return write


def test_without_a_file_there_is_nothing(write):
    assert profiles.read(None, KNOWN) == {}
    assert profiles.names() == []
    with pytest.raises(ValueError, match=r'no profile "playground" in .*; there are: none'):
        profiles.read("playground", KNOWN)


def test_a_profile_over_what_always_holds(write):
    write(
        'consumer-group = "mine"\ngroup = "gracedb"\n'
        '[profiles.playground]\ngroup = "gracedb-playground"\noptions = { a = 1 }\n'
        "[profiles.other]\n"
    )
    assert profiles.names() == ["other", "playground"]
    assert profiles.read(None, KNOWN) == {"consumer_group": "mine", "group": "gracedb"}
    assert profiles.read("playground", KNOWN) == {
        "consumer_group": "mine",
        "group": "gracedb-playground",
        "options": {"a": 1},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("group =", "is no TOML"),
        ("group", "is no TOML"),
        ('grup = "gracedb"', '"grup" cannot be set; is group meant'),
        ("x = 1", "consumer-group, group, noauth, options, port, server can"),
        ('password = "secret"', '"password" cannot be set'),
        ("port = [1]", '"port" must be a whole number'),
        ("port = true", '"port" must be a whole number'),
        ("port = 1.5", '"port" must be a whole number'),
        ('noauth = "secret"', '"noauth" must be true or false'),
        ("noauth = 1", '"noauth" must be true or false'),
        ('server = ["a", "b"]', '"server" must be text'),
        ('options = "secret"', '"options" must be a table'),
        ("profiles = 1", "begins with the line"),
        ("[profiles]\nplayground = 1", "begins with the line"),
        ("[profiles.playground]\nsever = 1", "is server meant"),
    ],
)
def test_what_is_wrong_is_named(write, text, says):
    write(text)
    with pytest.raises(ValueError, match=says) as caught:
        profiles.read("playground" if "playground" in text else None, KNOWN)
    assert str(profiles.path()) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read(write):
    write("")
    profiles.path().unlink()
    profiles.path().mkdir()
    with pytest.raises(ValueError, match=r"cannot read .*: Is a directory"):
        profiles.read(None, KNOWN)


def test_by_default_it_lies_below_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative"):  # as the XDG specification wants it
        monkeypatch.setenv("XDG_CONFIG_HOME", ignored)
        assert profiles.path() == tmp_path / ".config/igwn-style-client/config.toml"
