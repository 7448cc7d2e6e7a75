"""Where alerts are set aside by default."""

import sys

import pytest

from igwn_style_client.places import default_path


def test_the_default_place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = default_path("kafka.scimma.org:9092", "user-abc/../x")
    assert path.parent == tmp_path / "igwn-style-client"
    assert path.name.startswith("set-aside-kafka.scimma.org_9092-user_abc_.._x-")
    assert path == default_path("kafka.scimma.org:9092", "user-abc/../x")


def test_each_server_and_group_has_its_own_file():
    pairs = [
        ("a-b", "c"),
        ("a", "b-c"),
        ("a", "b/c"),
        ("a", "b_c"),
        ("a", None),
        ("a" * 999, "b" * 999),
    ]
    paths = {default_path(*pair) for pair in pairs}
    assert len(paths) == len(pairs)
    assert all(len(path.name) < 255 for path in paths)


@pytest.mark.parametrize("state", ["", "relative/state"])
def test_without_a_state_folder(tmp_path, monkeypatch, state):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", state)
    place = "Library/Application Support" if sys.platform == "darwin" else ".local/state"
    assert default_path("a", "b").parent == tmp_path / place / "igwn-style-client"
