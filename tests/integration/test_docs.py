"""The examples run: of the README, of the quickstart, and of the docstrings."""

import doctest
import importlib
import pkgutil
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import igwn_style_client

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/quickstart.rst",
    "docs/publishing.rst",
    "docs/index.rst",
    "docs/antares.rst",
]
ROOMS = [
    importlib.import_module(f"igwn_style_client.{room.name}")
    for room in pkgutil.iter_modules(igwn_style_client.__path__)
    if room.name != "__main__"
]

_RST = re.compile(
    r"^\.\. code-block:: (?P<kind>\w+)\n(?P<options>(?: +:.*\n)*)\n(?P<body>(?:(?: +.*)?\n)+)",
    re.MULTILINE,
)
_MARKDOWN = re.compile(
    r"(?P<options><!-- [\w ]+ -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """A piece of code or output, and the line of its page on which it begins."""

    kind: str
    options: str
    text: str
    line: int

    @property
    def needs_network(self):
        return re.search("needs.network", self.options) is not None

    @property
    def is_output(self):
        return ":class: output" in self.options


def blocks(text, pattern):
    for match in pattern.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        yield Block(match["kind"], match["options"] or "", textwrap.dedent(match["body"]), line)


def read(page):
    pattern = _RST if page.endswith(".rst") else _MARKDOWN
    return list(blocks((ROOT / page).read_text(), pattern))


def run(page, found, output):
    """Run a page's Python in one namespace, and compare what it prints with what the page says.

    `output` returns what was printed since it was called last.
    """
    namespace = {"__name__": "__main__"}
    printed = ""
    for block in found:
        if block.is_output:
            assert printed == block.text.strip("\n") + "\n", f"{page}, line {block.line}"
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
    assert running["docs/quickstart.rst"] >= 4
    assert sum(block.is_output for block in read("docs/quickstart.rst")) >= 4


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
