"""The examples run: of the README, of the pages, of docs/examples, and of the docstrings."""

import doctest
import importlib
import itertools
import json
import os
import pkgutil
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import igwn_style_client
from igwn_style_client import EmbeddedBroker, client
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.rst")))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
ROOMS = [
    importlib.import_module(f"igwn_style_client.{room.name}")
    for room in pkgutil.iter_modules(igwn_style_client.__path__)
    if room.name != "__main__"
]

_RST = re.compile(
    r"^\.\. (?:code-block:: (?P<kind>\w+)|literalinclude:: (?P<file>\S+))\n"
    r"(?P<options>(?: +:.*\n)*)\n(?P<body>(?:(?: +.*)?\n)*)",
    re.MULTILINE,
)
_MARKDOWN = re.compile(
    r"(?P<options><!-- [\w ]+ -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """A piece of code or output, the line of its page on which it begins, or a file instead."""

    kind: str | None
    options: str
    text: str
    line: int
    file: str | None = None

    @property
    def needs_network(self):
        return re.search("needs.network", self.options) is not None

    @property
    def is_output(self):
        return ":class: output" in self.options

    @property
    def printed(self):
        return self.text.strip("\n") + "\n"


def blocks(text, pattern):
    for match in pattern.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        found = {"kind": None, "file": None, **match.groupdict()}
        text_of_it = textwrap.dedent(found["body"])
        yield Block(found["kind"], found["options"] or "", text_of_it, line, found["file"])


def read(page):
    pattern = _RST if page.endswith(".rst") else _MARKDOWN
    return list(blocks((ROOT / page).read_text(), pattern))


def output_of(example):
    """What the page that shows an example says that it prints; None where it does not say."""
    for page in PAGES:
        shown = read(page)
        for block, following in itertools.zip_longest(shown, shown[1:]):
            if block.file == f"examples/{example}":
                return following.printed if following and following.is_output else None
    raise LookupError(f"no page shows {example}")


def run(page, found, output):
    """Run a page's Python in one namespace, and compare what it prints with what the page says.

    `output` returns what was printed since it was called last.
    """
    namespace = {"__name__": "__main__"}
    printed = ""
    for block in found:
        if block.file is not None:
            printed = None  # an example runs by itself, below
        elif block.is_output:
            assert printed in (None, block.printed), f"{page}, line {block.line}"
        elif block.kind == "python":
            # Empty lines before it let a traceback point to the line of the page.
            code = compile("\n" * (block.line - 1) + block.text, page, "exec")
            if not block.needs_network:
                exec(code, namespace)
                printed = output()


@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs(page, capsys):
    run(page, read(page), lambda: capsys.readouterr().out)


def test_the_pages_run_offline_where_they_can():
    running = {
        page: sum(block.kind == "python" and not block.needs_network for block in read(page))
        for page in PAGES
    }
    assert running["README.md"] >= 1
    assert running["docs/tutorial.rst"] >= 2
    assert sum(block.is_output for block in read("docs/tutorial.rst")) >= 2


def start(path, *arguments, folder, **settings):
    """Start an example as a reader would: from a folder of its own, where it was saved."""
    shutil.copytree(path.parent, folder, dirs_exist_ok=True)
    words = ["-m", "pytest", "-q", path.name] if path.name.startswith("test_") else [path.name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    return subprocess.Popen(
        [sys.executable, *words, *arguments], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [path for path in EXAMPLES if path.name not in ("follow_up.py", "service.py")],
    ids=lambda path: path.name,
)
def test_the_example_runs(path, tmp_path):
    with start(path, folder=tmp_path) as process:
        printed, errors = process.communicate(timeout=100)
    assert process.returncode == 0, printed + errors
    said = output_of(path.name)
    if not path.name.startswith("test_"):
        assert printed == said


def test_the_tutorials_program_follows_a_simulation(tmp_path):
    [path] = [path for path in EXAMPLES if path.name == "follow_up.py"]
    with EmbeddedBroker() as broker, client(server=broker.url, noauth=True) as publisher:
        broker.create_topics(["gracedb.superevent"])
        with start(path, "--server", broker.url, "--noauth", folder=tmp_path) as process:
            document = {"superevent_id": "S240422ed", "far": 1e-12, "labels": []}
            payload = json.dumps({"object": document})
            queued = tmp_path / "queue.db"
            wait_until(queued.exists)

            def arrives():
                # It begins with what comes next, so only what is sent once it listens arrives.
                publisher.publish("superevent", payload)
                return Queue(queued).superevents()

            sys.path.insert(0, str(tmp_path))
            try:
                from follow_up import Queue

                assert wait_until(arrives) == ["S240422ed"]
            finally:
                sys.path.remove(str(tmp_path))
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (0, "S240422ed is queued\n"), errors


def test_the_program_for_the_command_line_queues_a_superevent_once(tmp_path):
    path = ROOT / "docs" / "examples" / "follow_up.sh"
    with EmbeddedBroker() as broker, client(server=broker.url, noauth=True) as publisher:
        for kind in ("update", "new", "new"):
            alert = {"alert_type": kind, "object": {"superevent_id": "S240422ed"}}
            publisher.publish("superevent", alert)
        words = [
            *("listen", "superevent", "--server", broker.url, "--noauth"),
            *("--since", "earliest", "--until-eos", "--exec", str(path)),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "igwn_style_client", *words],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "queue.txt").read_text() == "S240422ed\n"


def test_the_service_tells_systemd(tmp_path):
    [path] = [path for path in EXAMPLES if path.name == "service.py"]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        EmbeddedBroker() as broker,
        client(server=broker.url, noauth=True) as publisher,
    ):
        broker.create_topics(["gracedb.superevent"])
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        systemd = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with start(
            path, "--server", broker.url, "--noauth", folder=tmp_path / "service", **systemd
        ) as process:
            assert manager.recv(1000).startswith(b"READY=1\nSTATUS=listening; 0 delivered")
            publisher.publish("superevent", "{}")
            while manager.recv(1000) != b"WATCHDOG=1\nSTATUS=listening; 1 delivered":
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            _, logged = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    lines = [json.loads(line) for line in logged.splitlines()]
    [received] = [line for line in lines if line["message"] == "received"]
    assert received["topic"] == "superevent"


def test_every_python_block_is_found():
    """A block that is indented or spelled otherwise would be left out in silence."""
    for page in PAGES:
        text = (ROOT / page).read_text()
        written = len(re.findall(r"(?:code-block:: *|```)(?:python|py)", text))
        assert sum(block.kind == "python" for block in read(page)) == written


RST = """
.. code-block:: python

   answer = 41

.. code-block:: python
   :class: needs-network

   raise OSError("no network")

Text.

.. code-block:: python

   print(answer + 1)

   print("end")

.. code-block:: text
   :class: output

   42
   end

Text.
"""
MARKDOWN = """
```python
print(42)
```
<!-- needs network -->
```python
raise OSError
```
"""


def test_the_runner_runs_what_it_should(capsys):
    output = lambda: capsys.readouterr().out  # noqa: E731
    run("page.rst", blocks(RST, _RST), output)
    run("page.md", blocks(MARKDOWN, _MARKDOWN), output)


@pytest.mark.parametrize(
    ("good", "bad", "error"),
    [
        ("   42\n", "   43\n", AssertionError),
        ("   end\n\nText", "   end\n   more\n\nText", AssertionError),
        ('print("end")', "raise KeyError", KeyError),
        ("answer + 1", "unknown + 1", NameError),
        ('raise OSError("no network")', "this is no Python", SyntaxError),
    ],
)
def test_the_runner_catches(good, bad, error, capsys):
    assert good in RST
    with pytest.raises(error):
        run("page.rst", blocks(RST.replace(good, bad), _RST), lambda: capsys.readouterr().out)


@pytest.mark.parametrize("room", [igwn_style_client, *ROOMS], ids=lambda room: room.__name__)
def test_the_docstrings_run(room):
    runner = doctest.DocTestRunner()
    report = []
    for example in doctest.DocTestFinder(exclude_empty=True).find(room):
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_the_docstrings_have_examples():
    found = {
        room.__name__.rpartition(".")[2]
        for room in [igwn_style_client, *ROOMS]
        for example in doctest.DocTestFinder().find(room)
        if example.examples
    }
    assert {"igwn_style_client", "client", "broker"} <= found
