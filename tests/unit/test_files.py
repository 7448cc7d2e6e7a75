"""Names that are safe, and files that are whole."""

import os
import threading
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client.files import safe_name, write_whole


@given(st.text(max_size=60))
def test_a_name_is_safe_and_tells_what_it_was(text):
    name = safe_name(text)
    assert name
    assert name.isascii()
    assert not name.startswith(".")
    assert not set(name) & set('/\\:*?"<>|\0\n ')
    assert len(name) <= 200
    if text and len(name) < 150:
        assert unquote(name, errors="surrogatepass") == text


@given(
    st.sets(
        st.text(max_size=4) | st.sampled_from(["NUL", "%4EUL", ".", "%2E", "a" * 300, "a" * 301])
    )
)
def test_different_texts_have_different_names(texts):
    assert len({safe_name(text) for text in texts}) == len(texts)


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "a/b.json"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    path.parent.chmod(0o500)
    try:
        if os.geteuid():
            with pytest.raises(OSError, match="denied"):
                write_whole(path, b"third")
        assert path.read_bytes() == b"second"
    finally:
        path.parent.chmod(0o700)
    with pytest.raises(TypeError):
        write_whole(path, None)
    assert path.read_bytes() == b"second"
    assert [one.name for one in path.parent.iterdir()] == ["b.json"]


def test_the_names_of_new_folders_are_on_the_disk_too(tmp_path, monkeypatch):
    """Without them a file in a new folder is gone when the power fails."""
    synced, fsync = [], os.fsync

    def note(number):
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        fsync(number)

    monkeypatch.setattr(os, "fsync", note)
    write_whole(tmp_path / "a/b/c.json", b"{}")
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/b")} <= set(synced)
    synced.clear()
    write_whole(tmp_path / "a/b/d.json", b"{}")
    assert len(synced) == 2  # the file, and its name


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "a").touch()
    for path in (tmp_path / "a/b.json", tmp_path / "a/b/c.json"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            write_whole(path, b"{}")


def test_no_reader_sees_half_a_file(tmp_path):
    path, ended, seen = tmp_path / "a", threading.Event(), set()
    write_whole(path, bytes(100_000))

    def read():
        while not ended.is_set():
            seen.add(len(path.read_bytes()))

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(30):
        write_whole(path, bytes(100_000))
    ended.set()
    thread.join()
    assert seen == {100_000}
