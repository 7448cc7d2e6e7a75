"""How ANTARES speaks, and its clients before any network."""

import copy
import json
import logging
import pickle
import socket
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import contextmanager

import pytest
from hop import bson as hops_bson
from hypothesis import given, settings
from hypothesis import strategies as st

from igwn_style_client import (
    CredentialError,
    CredentialFileMissing,
    DecodeError,
    NotConnected,
    loci,
)
from igwn_style_client.antares import Client, Locus, StreamingClient, dialect
from igwn_style_client.decoding import Decoder

KEYS = {"api_key": "K3Y-of-observatory", "api_secret": "s3cr3t-of-observatory"}

KEY = st.text(st.characters(blacklist_characters="\0", codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEY, VALUES, max_size=6)


def packed(document):
    return zlib.compress(hops_bson.dumps(document))


class Labelled:
    """As much of a Kafka message as is decoded."""

    def __init__(self, value, declared):
        self._value, self._declared = value, declared

    def value(self):
        return self._value

    def headers(self):
        return [("_format", self._declared)]


def decode(value):
    return dialect().decoders[None](value)


@pytest.fixture(scope="module")
def recorded_loci(recorded):
    """Every recorded payload of ANTARES, by name."""
    files = sorted((recorded / "antares").glob("*.json"))
    return {file.stem: json.loads(file.read_bytes()) for file in files}


@pytest.fixture(params=["pymongo", "hop"])
def decoder(request, monkeypatch):
    """Each of the two decoders, whichever is installed."""
    if request.param == "hop":
        monkeypatch.setattr(loci, "_decode_quickly", None)
    elif loci._decode_quickly is None:
        pytest.skip("PyMongo is not installed")
    return request.param


def kinds(value):
    """The types of a value and of all in it."""
    if isinstance(value, dict):
        return {name: kinds(one) for name, one in value.items()}
    return [kinds(one) for one in value] if isinstance(value, list) else type(value)


class TestDecoding:
    def test_every_recorded_payload(self, recorded_loci, decoder):
        assert len(recorded_loci) == 11
        for payload in recorded_loci.values():
            assert decode(packed(payload)) == payload
            assert kinds(decode(packed(payload))) == kinds(payload)  # 64-bit ids are int

    @pytest.mark.skipif(loci._decode_quickly is None, reason="PyMongo is not installed")
    @given(DOCUMENTS)
    def test_both_decoders_agree(self, document):
        content = hops_bson.dumps(document)
        quickly, slowly = loci._decode_quickly(content), loci._decode_slowly(content)
        assert quickly == slowly == document
        assert kinds(quickly) == kinds(slowly) == kinds(document)

    @pytest.mark.skipif(loci._decode_quickly is None, reason="PyMongo is not installed")
    @settings(max_examples=500)
    @given(DOCUMENTS, st.data())
    def test_both_decoders_agree_on_broken_bytes(self, document, data):
        """Nothing but a DecodeError comes out, and it comes to an end."""
        content = bytearray(hops_bson.dumps(document))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        content = bytes(content[: data.draw(st.integers(0, len(content)))] or content)
        try:
            slowly = loci._decode_slowly(content)
        except DecodeError:
            with pytest.raises(DecodeError):
                loci._document(content)
        else:
            assert repr(loci._document(content)) == repr(slowly)

    @pytest.mark.parametrize(
        ("kind", "value", "meant"),
        [(b"\x06", b"", None), (b"\x0e", b"\x03\x00\x00\x00ok\x00", "ok")],
        ids=["undefined", "symbol"],
    )
    @pytest.mark.parametrize("array", [False, True])
    def test_old_types(self, decoder, kind, value, meant, array):
        name = b"\xff" if array else b"a"  # in an array nobody reads it
        inner = kind + name + b"\x00" + value
        if array:
            inner = struct.pack("<i", len(inner) + 5) + inner + b"\x00"
            inner, meant = b"\x04a\x00" + inner, [meant]
        content = struct.pack("<i", len(inner) + 5) + inner + b"\x00"
        assert decode(zlib.compress(content)) == {"a": meant}

    def test_types_beyond_those_of_json(self, decoder):
        """Dates, UUIDs and the like come as hop's decoder has them, whichever is installed."""
        bson = pytest.importorskip("bson")
        import datetime

        when = datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc)
        sent = {"when": when, "id": bson.ObjectId("6b018c65c80a079fbeaf15ac"), "n": 2**40}
        got = decode(zlib.compress(bson.encode(sent)))
        assert got == {"when": when, "id": b"6b018c65c80a079fbeaf15ac", "n": 2**40}
        assert decode(zlib.compress(bson.encode({"a": {"$ref": "b", "$id": 1}}))) == {
            "a": {"$ref": "b", "$id": 1}
        }

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (b"", "cut off"),
            (b"{}", "incorrect header"),
            (packed({"a": 1})[:-2], "cut off"),
            (zlib.compress(b""), "cut off"),
            (zlib.compress(b"no BSON"), "wrong length"),
            (zlib.compress(hops_bson.dumps({"a": "b"})[:-3]), "wrong length"),
            (zlib.compress(hops_bson.dumps({"a": "b"}) + b"more"), "after its end"),
            (zlib.compress(hops_bson.dumps({"a": "b"}).replace(b"b", b"\xff")), "utf-8"),
            (zlib.compress(hops_bson.dumps({"a": "b"}).replace(b"\2a", b"\x0ba")), "type 0x0b"),
            (packed({"$$__CLASS_NAME__$$": "os.system"}), "No class definition"),
        ],
    )
    def test_what_cannot_be_read(self, value, text, decoder):
        with pytest.raises(DecodeError, match=text):
            decode(value)

    @pytest.mark.parametrize("declared", [None, b"json", b"blob", b"external"])
    def test_what_a_message_declares_changes_nothing(self, declared):
        """A label of hop's makes no str, no bytes and no URL of an alert."""
        speaks = dialect(Locus.from_payload)
        message = Labelled(packed(FLAT), declared)
        assert Decoder(speaks)(message) == Locus.from_payload(FLAT)
        with pytest.raises(DecodeError, match="zlib"):
            Decoder(speaks)(Labelled(b'{"url": "http://127.0.0.1:1/"}', declared))

    @pytest.mark.parametrize("length", [-8, -7, -5, -4, -3, -1, 0, 4])
    def test_lengths_that_lead_in_a_circle(self, decoder, length):
        """hop's decoder alone goes round for ever at -3, -5 and -7."""
        inner = struct.pack("<i", length)
        content = b"\3a\0" + inner + b"\0"
        content = struct.pack("<i", len(content) + 5) + content + b"\0"
        with pytest.raises(DecodeError, match="wrong length"):
            decode(zlib.compress(content))

    def test_a_bomb_is_refused_before_it_goes_off(self):
        squeezer = zlib.compressobj(9)
        piece = bytes(2**20)
        bomb = b"".join([*(squeezer.compress(piece) for _ in range(1000)), squeezer.flush()])
        assert len(bomb) < 2**20
        tracemalloc.start()
        try:
            with pytest.raises(DecodeError, match="become more than 67108864"):
                decode(bomb)
            assert tracemalloc.get_traced_memory()[1] < 2 * loci._LARGEST + 2**20
        finally:
            tracemalloc.stop()

    def test_deep_nesting(self, decoder):
        content = hops_bson.dumps({})
        for _ in range(20_000):
            content = struct.pack("<i", len(content) + 8) + b"\3a\0" + content + b"\0"
        with pytest.raises(DecodeError):
            decode(zlib.compress(content))

    def test_without_pymongo_and_with_the_other_bson(self, tmp_path):
        """The package bson of PyPI has PyMongo's name, and is what antares-client installs."""
        (tmp_path / "bson").mkdir()
        (tmp_path / "bson/__init__.py").write_text("def loads(data): raise SystemExit(3)\n")
        code = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import zlib; from hop import bson;"
            "from igwn_style_client.antares import dialect;"
            "print(dialect().decoders[None](zlib.compress(bson.dumps({'a': 1}))))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.stdout, done.returncode) == ("{'a': 1}\n", 0), done.stderr


class TestNames:
    def test_both_ways(self):
        speaks = dialect()
        assert speaks.full_name("extragalactic") == "client.extragalactic"
        assert speaks.short_name("client.extragalactic") == "extragalactic"
        assert speaks.short_name("extragalactic") == "extragalactic"

    @pytest.mark.parametrize(
        ("existing", "expected"),
        [
            ({"client.a", "client.b"}, ["client.a", "client.b"]),
            ({"a", "b"}, ["a", "b"]),
            ({"client.a", "a", "b"}, ["client.a", "b"]),
            ({"client.a"}, ["client.a", "client.b"]),
            (set(), ["client.a", "client.b"]),
        ],
    )
    def test_as_the_server_has_them(self, existing, expected):
        assert loci.on_the_server(["a", "b"], existing) == expected

    def test_a_full_name_is_taken_for_what_it_is(self):
        assert loci.on_the_server(["client.a", "a"], {"client.a"}) == ["client.a"]

    def test_streams_of_a_server(self):
        assert loci.streams_of(["client.b", "a", "b", "__consumer_offsets"]) == ["a", "b"]


NESTED = {
    "data": {
        "type": "locus",
        "id": "ANT2020j7wo4",
        "attributes": {
            "ra": 291.5,
            "dec": -26,
            "properties": {
                "newest_alert_id": "ztf_candidate:617248544215010123",
                "newest_alert_observation_time": 58371.25,
            },
            "tags": ["high_snr"],
            "catalogs": ["2mass_psc"],
        },
    }
}
FLAT = {"id": NESTED["data"]["id"], **NESTED["data"]["attributes"]}


class TestLocus:
    @pytest.mark.parametrize("payload", [NESTED, FLAT], ids=["nested", "flat"])
    def test_of_1_and_2(self, payload):
        locus = Locus.from_payload(payload)
        assert locus.locus_id == "ANT2020j7wo4"
        assert locus.alert_id == "ztf_candidate:617248544215010123"
        assert (locus.ra, locus.dec, locus.mjd) == (291.5, -26.0, 58371.25)
        assert type(locus.dec) is float
        assert locus.survey == "ztf"
        assert (locus.tags, locus.catalogs) == (["high_snr"], ["2mass_psc"])
        assert locus.properties == FLAT["properties"]
        assert locus.payload == payload

    def test_of_0(self):
        locus = Locus.from_payload(
            {
                "timestamp_unix": 1544556267.5,
                "new_alert": {
                    "alert_id": 2831231,
                    "locus_id": 8148,
                    "survey": 1,
                    "original_id": 617248544215010123,
                    "mjd": 58371.25,
                    "ra": 291.5,
                    "dec": 26.5,
                    "properties": {"ztf_fid": 1},
                },
                "alert_history": [],
                "catalog_objects": {"2mass_psc": [{}]},
            }
        )
        assert (locus.locus_id, locus.alert_id) == (8148, 2831231)
        assert (locus.ra, locus.dec, locus.mjd, locus.survey) == (291.5, 26.5, 58371.25, "ztf")
        assert locus.properties == {"ztf_fid": 1}
        assert (locus.tags, locus.catalogs) == ([], ["2mass_psc"])

    def test_every_recorded_payload(self, recorded_loci):
        listing = recorded_loci.pop("api-v1-loci-search")
        payloads = {**recorded_loci, "api": {"data": listing["data"][0]}}
        for name, payload in payloads.items():
            locus = Locus.from_payload(payload)
            assert 0 <= locus.ra < 360, name
            assert -90 <= locus.dec <= 90, name
            assert 58000 < locus.mjd < 62000, name
            assert locus.survey == "ztf", name
            assert locus.properties, name
            if name.isdigit():  # antares-client's command line names its files so
                assert str(locus.alert_id) == name
            else:
                assert locus.alert_id.startswith("ztf_candidate:")
                assert locus.locus_id.startswith("ANT")
                assert locus.tags
        recorded_loci["api-v1-loci-search"] = listing

    @pytest.mark.parametrize(
        ("properties", "survey"),
        [
            ({"newest_alert_id": "lsst:170032915988086813"}, "lsst"),
            ({"newest_alert_id": "ztf_upper_limit:ZTF18-1"}, "ztf"),
            ({"ztf_object_id": "ZTF18abc"}, "ztf"),
            ({"survey": {"lsst": {"dia_object_id": ["1"]}, "ztf": {"id": []}}}, "lsst"),
            ({"survey": {"lsst": {"dia_object_id": ["1"]}, "ztf": {"id": ["Z"]}}}, None),
            ({}, None),
        ],
    )
    def test_the_survey(self, properties, survey):
        assert Locus.from_payload({**FLAT, "properties": properties}).survey == survey

    def test_what_is_not_said_is_none_or_empty(self):
        locus = Locus.from_payload({"id": "ANT1", "ra": 1.0, "dec": 2.0})
        assert (locus.alert_id, locus.mjd, locus.survey) == (None, None, None)
        assert (locus.properties, locus.tags, locus.catalogs) == ({}, [], [])

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            ({}, "it has no 'id'"),
            ({"id": "ANT1", "ra": 1.0}, "it has no 'dec'"),
            ({"id": "ANT1", "ra": "1h", "dec": 1}, "'ra' is '1h', and no number of degrees"),
            ({"id": "ANT1", "ra": None, "dec": 1}, "no number of degrees"),
            ({"id": "ANT1", "ra": True, "dec": 1}, "no number of degrees"),
            ({"id": "ANT1", "ra": 10**400, "dec": 1}, "too large"),
            ({"data": []}, "list indices"),
            ({"data": {"id": 1}}, "it has no 'attributes'"),
            ({"new_alert": None}, "not subscriptable"),
            ({"new_alert": {"ra": 1}}, "it has no 'locus_id'"),
            ({"id": 1, "ra": 1, "dec": 1, "properties": 5}, "not iterable"),
            ({"id": 1, "ra": 1, "dec": 1, "tags": 5}, "not iterable"),
        ],
    )
    def test_what_is_none(self, payload, reason):
        with pytest.raises(DecodeError, match=reason) as caught:
            Locus.from_payload(payload)
        assert "cannot be read as an ANTARES locus" in str(caught.value)

    def test_it_is_a_value(self):
        locus = Locus.from_payload(FLAT)
        assert locus == Locus.from_payload(copy.deepcopy(FLAT))
        assert locus == pickle.loads(pickle.dumps(locus)) == copy.deepcopy(locus)
        assert len({locus, Locus.from_payload(FLAT)}) == 1
        with pytest.raises(AttributeError, match="cannot assign"):
            locus.ra = 0.0
        assert "properties" not in repr(locus)

    @pytest.mark.parametrize(
        ("name", "advice"),
        [
            ("lightcurve", "ask the ANTARES API"),
            ("alerts", "loci/ID/alerts"),
            ("coordinates", "SkyCoord"),
            ("catalog_objects", "names are in catalogs"),
            ("nonsense", "a Locus has no 'nonsense'"),
        ],
    )
    def test_what_antares_client_has_and_a_message_has_not(self, name, advice):
        locus = Locus.from_payload(FLAT)
        assert not hasattr(locus, name)
        with pytest.raises(AttributeError, match=advice):
            getattr(locus, name)


@pytest.fixture
def no_credential(monkeypatch):
    for name in ("ANTARES_API_KEY", "ANTARES_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name + "_FILE", raising=False)


@pytest.fixture
def auth_toml(tmp_path, monkeypatch, no_credential):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "hop").mkdir()
    file = tmp_path / "hop/auth.toml"

    def write(text):
        file.write_text(text)
        file.chmod(0o600)

    return write


ENTRY = """
[[auth]]
hostname = "{}"
username = "saved-key"
password = "saved-secret"
mechanism = "PLAIN"
protocol = "SASL_SSL"
"""


class TestCredential:
    def test_given(self):
        configured = Client(["a"], **KEYS)._auth()
        assert configured["sasl.mechanism"] == "PLAIN"
        assert configured["security.protocol"] == "SASL_SSL"
        assert configured["sasl.username"] == KEYS["api_key"]
        assert configured["sasl.password"] == KEYS["api_secret"]
        assert "ssl.endpoint.identification.algorithm" not in configured

    def test_of_the_environment(self, monkeypatch, no_credential, tmp_path):
        monkeypatch.setenv("ANTARES_API_KEY", "K")
        with pytest.raises(CredentialError, match=r"half a credential.*ANTARES_API_SECRET"):
            Client(["a"])
        (tmp_path / "secret").write_text("S\n")
        monkeypatch.setenv("ANTARES_API_SECRET_FILE", str(tmp_path / "secret"))
        configured = Client(["a"])._auth()
        assert (configured["sasl.username"], configured["sasl.password"]) == ("K", "S")

    def test_given_counts_more(self, monkeypatch):
        monkeypatch.setenv("ANTARES_API_KEY", "K")
        monkeypatch.setenv("ANTARES_API_SECRET", "S")
        assert Client(["a"], **KEYS)._auth()["sasl.username"] == KEYS["api_key"]
        with pytest.raises(CredentialError, match=r"without its secret, is in what is given"):
            Client(["a"], api_key="mine")
        with pytest.raises(CredentialError, match=r"without its key, is in what is given"):
            Client(["a"], api_secret="mine")

    @pytest.mark.parametrize(
        "name", ["kafka.antares.noirlab.edu", "kafka.antares.noirlab.edu:9092"]
    )
    def test_of_auth_toml(self, auth_toml, name):
        auth_toml(ENTRY.format("kafka.scimma.org") + ENTRY.format(name))
        configured = Client(["a"])._auth()
        assert configured["sasl.username"] == "saved-key"
        assert configured["sasl.mechanism"] == "PLAIN"

    @pytest.mark.parametrize("name", ["kafka.scimma.org", "", "kafka.antares.noirlab.edu:1"])
    def test_that_of_another_host_is_not_shown(self, auth_toml, name):
        auth_toml(ENTRY.format(name))
        with pytest.raises(CredentialError, match="there is no credential for kafka"):
            Client(["a"])

    def test_none(self, auth_toml):
        with pytest.raises(CredentialError, match="give api_key= and api_secret="):
            Client(["a"])
        assert Client(["a"], noauth=True)._auth is None

    def test_the_secret_shows_nowhere(self, caplog):
        caplog.set_level(logging.DEBUG)
        client = Client(["a"], **KEYS, set_aside=False)
        client._reader(["a"])
        for shown in (repr(client), str(vars(client)), caplog.text):
            assert KEYS["api_secret"] not in shown
            assert KEYS["api_key"] not in shown


class TestCertificates:
    def test_a_missing_file(self):
        with pytest.raises(CredentialFileMissing, match=r"no file '/no/such\.pem'") as caught:
            Client(["a"], **KEYS, ssl_ca_location="/no/such.pem")
        assert "could not locate SSL certificates" in str(caught.value)
        assert "openssl version -d" in str(caught.value)

    def test_given(self, tmp_path):
        (tmp_path / "ca.pem").touch()
        client = Client(["a"], **KEYS, ssl_ca_location=tmp_path / "ca.pem")
        assert client._auth.ssl_ca_location == str(tmp_path / "ca.pem")

    def test_given_for_a_saved_credential(self, tmp_path, auth_toml):
        (tmp_path / "ca.pem").touch()
        auth_toml(ENTRY.format("kafka.antares.noirlab.edu"))
        client = Client(["a"], ssl_ca_location=tmp_path / "ca.pem")
        assert client._auth.ssl_ca_location == str(tmp_path / "ca.pem")

    def test_that_of_certifi(self):
        import certifi

        client = Client(["a"], **KEYS, host="kafka.example.org")
        assert client._auth.ssl_ca_location == certifi.where()

    def test_none_at_all(self, monkeypatch):
        monkeypatch.setattr("certifi.where", lambda: "/no/certifi.pem")
        monkeypatch.setenv("SSL_CERT_FILE", "/no/system.pem")
        with pytest.raises(CredentialFileMissing, match="could not locate SSL certificates"):
            Client(["a"], **KEYS, host="kafka.example.org")

    def test_that_of_the_system(self, monkeypatch, tmp_path):
        (tmp_path / "system.pem").touch()
        monkeypatch.setattr("certifi.where", lambda: "/no/certifi.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
        client = Client(["a"], **KEYS, host="kafka.example.org")
        assert client._auth.ssl_ca_location == str(tmp_path / "system.pem")

    @pytest.mark.parametrize(
        ("host", "own"), [("kafka.antares.noirlab.edu", True), ("kafka.example.org", False)]
    )
    def test_that_which_antares_client_brings(self, monkeypatch, tmp_path, host, own):
        (tmp_path / "antares_client/certificates").mkdir(parents=True)
        (tmp_path / "antares_client/__init__.py").write_text("raise SystemExit('imported')")
        (tmp_path / "antares_client/certificates/kafka-ca.pem").touch()
        monkeypatch.syspath_prepend(str(tmp_path))
        client = Client(["a"], **KEYS, host=host)
        assert client._auth.ssl_ca_location.endswith("kafka-ca.pem") is own


class TestArguments:
    def test_the_group_is_the_host(self):
        assert Client(["a"], **KEYS).group == socket.gethostname()
        assert Client(["a"], **KEYS, group="mine").group == "mine"

    def test_topics(self):
        assert Client("a", **KEYS).topics == ["a"]
        assert Client(("a", "b"), **KEYS).topics == ["a", "b"]

    @pytest.mark.parametrize(
        ("given", "error", "text"),
        [
            ({"topics": []}, ValueError, "name one stream at least"),
            ({"topics": "a,b"}, ValueError, "'a,b' cannot be the name"),
            ({"topics": 5}, TypeError, "topics"),
            ({"api_key": 5}, TypeError, "api_key"),
            ({"group": " "}, ValueError, "group"),
            ({"port": 0}, ValueError, "port"),
            ({"start_at": "first"}, ValueError, "start_at"),
            ({"options": {"group.id": "x"}}, ValueError, r"group\.id cannot be set"),
            ({"host": "https://x"}, ValueError, "kafka://"),
        ],
    )
    def test_wrong_ones(self, given, error, text):
        with pytest.raises(error, match=text):
            Client(**{"topics": ["a"], **KEYS, **given})

    @pytest.mark.parametrize("timeout", [-2, -0.5, float("nan"), float("inf")])
    def test_timeouts(self, timeout):
        with pytest.raises(ValueError, match="timeout"):
            Client(["a"], **KEYS).poll(timeout)
        with pytest.raises(TypeError, match="timeout"):
            Client(["a"], **KEYS).poll("soon")

    def test_after_any_error_of_the_stream_it_begins_anew(self, tmp_path):
        (tmp_path / "ca.pem").write_text("no certificate")
        given = {**KEYS, "ssl_ca_location": tmp_path / "ca.pem", "host": "127.0.0.1:1"}
        with Client(["a"], **given, set_aside=False) as client:
            with pytest.raises(CredentialError, match="cannot be used as a file of CA") as first:
                client.poll(10)
            with pytest.raises(CredentialError) as second:
                client.poll(10)
            assert second.value is not first.value

    def test_close_while_a_stream_is_opened(self):
        """As another thread may."""
        client = Client(["a"], noauth=True, host="127.0.0.1:1", set_aside=False)
        streaming = client._listening.streaming

        @contextmanager
        def close_then(*given):
            with streaming(*given) as opened:
                client.close()
                yield opened

        client._listening.streaming = close_then
        assert client.poll() == (None, None)
        assert not client._asked
        with pytest.raises(NotConnected):
            client.poll()

    def test_the_streaming_client_of_today(self):
        client = StreamingClient(
            ["a"],
            KEYS["api_key"],
            KEYS["api_secret"],
            group="mine",
            bootstrap_server="kafka.example.org:9093",
            enable_auto_commit=False,
        )
        assert client._brokers == ["kafka.example.org:9093"]
        assert client._by_hand
        with pytest.raises(ValueError, match="give one of them"):
            StreamingClient(["a"], **KEYS, host="a", bootstrap_server="b")

    def test_a_callback_that_cannot_be_called(self):
        with pytest.raises(TypeError, match="callback"):
            Client(["a"], **KEYS, set_aside=False).listen(lambda alert_only: None)
