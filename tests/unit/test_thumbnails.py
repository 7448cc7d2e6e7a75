"""Images from a server on this machine, which also lies."""

import gzip
import http.server
import json
import ssl
import threading
import time

import pytest

from igwn_style_client import ThumbnailError
from igwn_style_client.antares import get_thumbnails
from igwn_style_client.cli import main
from tests.kafka.server import write_certificates

KINDS = ("template", "science", "difference")


def fits(kind):
    return (f"SIMPLE  =                    T / {kind}".ljust(2880)).encode()


IMAGES = {kind: gzip.compress(fits(kind), mtime=0) for kind in KINDS}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IEND\xaeB`\x82"


class Web(http.server.BaseHTTPRequestHandler):
    """Answers as `server.answers` says for a path: a function of the handler, or bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path, 404)
        if callable(answer):
            answer(self)
        elif isinstance(answer, int):
            self.send_error(answer)
        else:
            self.answer(answer)

    def answer(self, content, length=None, **headers):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        if length is not None:
            self.close_connection = True

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.asked, server.closing = [], threading.Event()
        server.answers = {f"/i/{kind}": image for kind, image in IMAGES.items()}
        server.url = f"http://127.0.0.1:{server.server_port}/v2/"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        publish(server, {kind: f"ztf_{kind}.fits.gz" for kind in KINDS})
        yield server
        server.closing.set()
        server.shutdown()


def publish(web, names):
    """List images by their names, as v2 of the API does."""
    entries = [
        {"id": name, "thumbnail_type": kind, "filemime": "x", "src": f"/i/{kind}"}
        for kind, name in names.items()
    ]
    web.answers["/v2/alerts/7/thumbnails"] = json.dumps({"data": entries}).encode()


def get(web, folder=None, **keywords):
    return get_thumbnails(7, folder, web.url, **{"sleep": lambda _seconds: None, **keywords})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestGood:
    def test_three_images(self, web, tmp_path):
        expected = {
            kind: {"file_name": f"ztf_{kind}.fits.gz", "file_bytes": IMAGES[kind]} for kind in KINDS
        }
        assert get(web) == expected
        assert list(get(web)) == list(KINDS)
        assert get(web, tmp_path / "deep/er") == expected
        assert files(tmp_path / "deep/er") == {
            f"ztf_{kind}.fits.gz": IMAGES[kind] for kind in KINDS
        }

    def test_the_api_of_the_environment(self, web, monkeypatch):
        monkeypatch.setenv("ANTARES_API_BASE_URL", web.url.rstrip("/"))
        assert set(get_thumbnails("7")) == set(KINDS)

    def test_v1_of_the_api(self, web):
        entries = [
            {
                "type": "alert_thumbnail",
                "id": "x",
                "attributes": {"filename": f"{k}.png", "src": f"/i/{k}", "thumbnail_type": k},
            }
            for k in KINDS
        ]
        web.answers["/v2/alerts/7/thumbnails"] = json.dumps({"data": entries}).encode()
        web.answers |= {f"/i/{kind}": PNG for kind in KINDS}
        assert get(web)["science"] == {"file_name": "science.png", "file_bytes": PNG}

    def test_servers_of_0(self, web):
        """Each image at an address of its own; its name is in a header."""
        web.answers["/v2/alerts/7/thumbnails"] = 404
        for kind in KINDS:
            name = f"attachment; filename={kind}.fits.gz"
            web.answers[f"/v2/alerts/data/7/thumbnails/{kind}"] = lambda to, k=kind, n=name: (
                to.answer(IMAGES[k], Content_Disposition=n)
            )
        assert {one["file_name"] for one in get(web).values()} == {
            f"{kind}.fits.gz" for kind in KINDS
        }

    def test_progress(self, web):
        seen = []
        get(web, on_progress=lambda *what: seen.append(what))
        assert seen == [(kind, len(IMAGES[kind]), len(IMAGES[kind])) for kind in KINDS]

    def test_the_id_stays_in_its_place(self, web):
        with pytest.raises(ThumbnailError):
            get_thumbnails("../../x?y#z", None, web.url, sleep=lambda _seconds: None)
        assert web.asked[0] == "/v2/alerts/..%2F..%2Fx%3Fy%23z/thumbnails"


class TestNames:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("../../../etc/cron.d/evil", "evil"),
            ("..\\..\\evil.fits.gz", "evil.fits.gz"),
            ("/etc/passwd", "passwd"),
            ("", "7_science.fits.gz"),
            ("..", "7_science.fits.gz"),
            (".", "7_science.fits.gz"),
            ("a/", "7_science.fits.gz"),
            (" ", "7_science.fits.gz"),
            (".bashrc", "%2Ebashrc"),
            ("NUL", "%4EUL"),
            ("con.fits.gz", "%63on.fits.gz"),
            ("a\0b\nc", "a%00b%0Ac"),
            ("x" * 300, None),
            ("ztf_template.fits.gz", "7_science.fits.gz"),  # the other image's
            ("ZTF_template.FITS.gz", "7_science.fits.gz"),
        ],
    )
    def test_hostile(self, web, tmp_path, given, expected):
        publish(web, {**{kind: f"ztf_{kind}.fits.gz" for kind in KINDS}, "science": given})
        folder = tmp_path / "in"
        name = get(web, folder)["science"]["file_name"]
        assert name == expected or (expected is None and len(name) <= 200)
        assert (folder / name).read_bytes() == IMAGES["science"]
        assert len(files(folder)) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    @pytest.mark.parametrize("header", ["attachment", "filename=", 'filename="../../x"', "\xff"])
    def test_hostile_headers(self, web, tmp_path, header):
        web.answers["/v2/alerts/7/thumbnails"] = 404
        for kind in KINDS:
            web.answers[f"/v2/alerts/data/7/thumbnails/{kind}"] = lambda to, k=kind: to.answer(
                IMAGES[k], Content_Disposition=header
            )
        get(web, tmp_path / "in")
        assert len(files(tmp_path / "in")) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_a_link_in_the_folder_leads_nowhere(self, web, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in/ztf_science.fits.gz").symlink_to(tmp_path / "precious")
        (tmp_path / "precious").write_text("precious")
        get(web, tmp_path / "in")
        assert (tmp_path / "precious").read_text() == "precious"
        assert (tmp_path / "in/ztf_science.fits.gz").read_bytes() == IMAGES["science"]


def redirect(to):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def trickle(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.closing.wait(0.02):
        try:
            handler.wfile.write(b"x")
        except OSError:
            return


class TestLies:
    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (404, "404"),
            (500, "500"),
            (b"<html>Sign in</html>", "is no FITS image; it begins with '<html>Sign in"),
            (b"", "is no FITS image"),
            (gzip.compress(b"<html>", mtime=0), "is no FITS image"),
            (IMAGES["science"][:-5], "cut off or damaged"),
            (gzip.compress(fits("science")[:-1], mtime=0), "no whole FITS blocks"),
            (PNG[:-6], "is cut off"),
            (gzip.compress(b"SIMPLE  =" + bytes(2**25), mtime=0), "becomes more than 16777216"),
            (lambda to: to.answer(IMAGES["science"], length=10**6), "IncompleteRead"),
            (lambda to: to.answer(b"x" * (2**24 + 1)), "is over 16777216 bytes"),
            (redirect("/i/science"), "redirects"),
            (redirect("file:///etc/passwd"), "No connection adapters"),
            (trickle, r"took longer than 0\.5 s"),
        ],
    )
    def test_one_is_named_and_the_others_are_kept(self, web, tmp_path, answer, text):
        web.answers["/i/science"] = answer
        with pytest.raises(ThumbnailError, match=text) as caught:
            get(web, tmp_path, longest=0.5)
        assert "of 7 are missing (template, difference came well): science:" in str(caught.value)
        assert list(caught.value.thumbnails) == ["template", "difference"]
        assert set(files(tmp_path)) == {"ztf_template.fits.gz", "ztf_difference.fits.gz"}

    def test_what_passes_is_tried_again(self, web):
        left, waits = [500, 503], []

        def answer(to):
            to.send_error(left.pop()) if left else to.answer(IMAGES["science"])

        web.answers["/i/science"] = answer
        assert set(get(web, sleep=waits.append)) == set(KINDS)
        assert waits == [0.5, 1.0]
        assert web.asked.count("/i/science") == 3

    def test_what_does_not_pass_is_not(self, web):
        web.answers["/i/science"] = 403
        with pytest.raises(ThumbnailError, match="403"):
            get(web)
        assert web.asked.count("/i/science") == 1

    def test_one_that_is_not_listed(self, web):
        publish(web, {"template": "t", "difference": "d"})
        with pytest.raises(ThumbnailError, match="science: ANTARES has none"):
            get(web)

    @pytest.mark.parametrize(
        "listing", [b"<html>", b"{}", b"[]", b'{"data": 5}', b'{"data": [1]}', b"[" * 10**5]
    )
    def test_a_list_that_is_none(self, web, listing):
        web.answers["/v2/alerts/7/thumbnails"] = listing
        with pytest.raises(ThumbnailError, match="is no list of images"):
            get(web)

    def test_an_address_that_is_none(self, web):
        entry = {"thumbnail_type": "science", "src": "file:///etc/passwd"}
        web.answers["/v2/alerts/7/thumbnails"] = json.dumps({"data": [entry]}).encode()
        with pytest.raises(ThumbnailError, match="'file:///etc/passwd', and not behind https://"):
            get(web)

    def test_from_https_nothing_leads_to_http(self, web, tmp_path, monkeypatch):
        write_certificates(tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        entries = [{"thumbnail_type": k, "src": f"{web.url[:-4]}/i/{k}"} for k in KINDS]
        web.answers["/v2/alerts/7/thumbnails"] = json.dumps({"data": entries}).encode()
        assert set(get(web)) == set(KINDS)  # from HTTP they are had
        with http.server.HTTPServer(("127.0.0.1", 0), Web) as vouched:
            vouched.socket = context.wrap_socket(vouched.socket, server_side=True)
            vouched.asked, vouched.answers = [], web.answers
            threading.Thread(target=vouched.handle_request).start()
            web.asked.clear()
            with pytest.raises(ThumbnailError, match="and not behind https://"):
                get_thumbnails(7, None, f"https://127.0.0.1:{vouched.server_port}/v2/")
        assert web.asked == []

    def test_nobody_answers(self):
        begun = time.monotonic()
        with pytest.raises(ThumbnailError, match="no images of 7 from http://127"):
            get_thumbnails(7, None, "http://127.0.0.1:1/", sleep=lambda _seconds: None)
        assert time.monotonic() - begun < 10

    def test_a_redirect_to_another_place_is_followed(self, web):
        web.answers["/elsewhere"] = IMAGES["science"]
        web.answers["/i/science"] = redirect("/elsewhere")
        assert get(web)["science"]["file_bytes"] == IMAGES["science"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"alert_id": None}, TypeError),
        ({"alert_id": 7.0}, TypeError),
        ({"alert_id": ""}, ValueError),
        ({"alert_id": ".."}, ValueError),
        ({"alert_id": 7, "base_url": "file:///"}, ValueError),
        ({"alert_id": 7, "output_dir": 5}, TypeError),
    ],
)
def test_wrong_arguments(given, error):
    with pytest.raises(error):
        get_thumbnails(**given)


class TestCommand:
    def run(self, web, capsys, folder):
        with pytest.raises(SystemExit) as ended:
            main(["thumbnails", "7", "-d", str(folder), "--base-url", web.url])
        return (ended.value.code, *capsys.readouterr())

    def test_images(self, web, capsys, tmp_path):
        status, output, errors = self.run(web, capsys, tmp_path)
        assert (status, errors) == (0, "")
        assert output.splitlines() == [f"{k}: {tmp_path}/ztf_{k}.fits.gz" for k in KINDS]

    def test_one_is_missing(self, web, capsys, tmp_path):
        web.answers["/i/science"] = 404
        status, output, errors = self.run(web, capsys, tmp_path)
        assert status == 1
        assert len(output.splitlines()) == 2
        assert errors.startswith("igwn-style-client: error: images of 7 are missing")
        assert "science: 404" in errors

    def test_a_folder_that_is_a_file(self, web, capsys, tmp_path):
        (tmp_path / "file").touch()
        status, _, errors = self.run(web, capsys, tmp_path / "file")
        assert status == 2
        assert "is a file" in errors
