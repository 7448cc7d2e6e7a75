"""The pages name what the package has."""

import ast
import configparser
import importlib.util
import inspect
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

import igwn_style_client
from igwn_style_client import client, errors, settings
from igwn_style_client.cli import main

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("help_page", ROOT / "docs" / "help.py")
help_page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(help_page)
PACKAGE = Path(igwn_style_client.__file__).parent
# Where a package is imported by another name than it is installed by.
INSTALLED_AS = {
    "adc": "adc-streaming",
    "bson": "pymongo",
    "confluent_kafka": "confluent-kafka",
    "hop": "hop-client",
}


def page(name):
    return (ROOT / "docs" / name).read_text()


def is_named(name, text):
    """Whether `text` has the name as a literal or in bold: prose mentions too much by chance."""
    return re.search(rf"(``|\*\*)(?:igwn_style_client\.)?{re.escape(name)}\1", text) is not None


def declared():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"].values()
    lines = "\n".join([setup["options"]["install_requires"], *extras]).splitlines()
    names = {re.match(r"[\w.-]*", line.strip())[0] for line in lines}
    return names - {"", "igwn-style-client"}


def imported():
    """The foreign packages that the rooms import, by the names they are installed by."""
    found = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    foreign = found - sys.stdlib_module_names - {"igwn_style_client"}
    return {INSTALLED_AS.get(name, name) for name in foreign}


def missing(names, text):
    return sorted(name for name in names if not is_named(name, text))


def test_every_dependency_has_its_reason():
    assert {"hop-client", "six", "sphinx", "igwn-alert", "certifi"} <= declared() | imported()
    assert missing(declared() | imported(), page("dependencies.rst")) == []


def test_no_dependency_is_described_that_is_none():
    described = set(
        re.findall(r"^   \* - \*\*([\w-]+)\*\*", page("dependencies.rst"), re.MULTILINE)
    )
    assert described == declared() | imported()


def test_the_floors_are_those_that_are_declared():
    text = page("dependencies.rst")
    floors = {
        name: floor
        for name, floor in re.findall(r"\*\*([\w-]+)\*\* ≥ ([\d.]+)", text)
        if name in declared()
    }
    assert {"hop-client", "confluent-kafka"} <= floors.keys()
    setup = (ROOT / "setup.cfg").read_text()
    assert floors == dict(re.findall(r"^    ([\w-]+) >= ([\d.]+)$", setup, re.MULTILINE))


def test_every_room_has_its_sentence():
    rooms = {room.name for room in pkgutil.iter_modules(igwn_style_client.__path__)}
    rooms = (rooms | {"__init__"}) - {"_version"}
    assert {"client", "reader", "errors"} <= rooms
    rows = re.findall(r"^   \* - ``(\w+)``$", page("architecture.rst"), re.MULTILINE)
    assert set(rows) == rooms


def test_every_exported_name_is_in_the_reference():
    text = page("api.rst") + page("errors.rst")
    names = set(igwn_style_client.__all__) - {"__version__"}
    names = {name for name in names if not name.startswith("DEFAULT_")}
    listed = set(re.findall(r"^.. auto\w+:: (?:\w+\.)*(\w+)$", text, re.MULTILINE))
    assert sorted(name for name in names if name not in listed and not is_named(name, text)) == []


def test_every_error_is_in_the_reference():
    raised = {name for name in errors.__all__ if inspect.isclass(getattr(errors, name))}
    assert {"ClientError", "PublishError"} <= raised
    text = page("errors.rst")
    listed = re.findall(r"^.. autoexception:: (?:\w+\.)*(\w+)$", text, re.MULTILINE)
    assert raised <= set(listed)


def test_names_in_backquotes_lead_to_the_reference():
    text = page("api.rst") + page("errors.rst")
    documented = set(re.findall(r"^.. auto\w+:: (\w+)$", text, re.MULTILINE))
    assert documented <= set(igwn_style_client.__all__)
    for path in (ROOT / "docs").glob("*.rst"):
        names = re.findall(r"(?<![`:>\w])`(\w+)`(?![`_])", path.read_text())
        assert set(names) <= documented, path.name


def test_every_command_is_on_the_page_of_the_command_line():
    text = page("cli.rst")
    for command in help_page.commands():
        assert f"   $ {f'igwn-style-client {command}'.rstrip()} --help\n" in text


@pytest.mark.skipif(
    tuple(map(int, version("click").split(".")[:2])) < (8, 5),
    reason="click before 8.5 words and orders some of it otherwise",
)
def test_the_page_of_the_command_line_says_what_the_commands_say():
    text = page("cli.rst")
    assert help_page.renewed(text) == text, "run: python docs/help.py"


def test_every_help_has_examples():
    for command in help_page.commands():
        said = help_page.help_of(command)
        assert said.startswith(f"Usage: {f'igwn-style-client {command}'.rstrip()} ")
        assert re.search("^  Examples?:$", said, re.MULTILINE), command


def test_the_page_of_the_command_line_has_every_variable():
    variables = {
        parameter.envvar
        for command in main.commands.values()
        for parameter in [*main.params, *command.params]
        if parameter.envvar
    }
    assert "IGWN_STYLE_CLIENT_SERVER" in variables
    assert missing(variables - {"ANTARES_API_BASE_URL"}, page("cli.rst")) == []


def test_every_option_of_igwn_alert_has_its_place():
    tool = pytest.importorskip("igwn_alert.tool")
    text = page("cli.rst").partition("Coming from ``igwn-alert``")[2]
    [subcommands] = [one for one in tool.parser()._actions if one.dest == "action"]
    names = [one for action in tool.parser()._actions for one in action.option_strings]
    names = set(names) - {"-h", "--help"} | set(subcommands.choices)
    assert {"-g", "listen", "--jsonpp"} <= names
    assert [name for name in names if not re.search(rf"``{name}\b", text)] == []


def test_every_keyword_has_its_setting():
    keywords = set(inspect.signature(client).parameters)
    assert {"server", "consumer_group", "options"} <= keywords
    assert missing(keywords, page("settings.rst")) == []


def test_every_option_that_is_refused_is_named():
    assert {"group.id", "auto.offset.reset"} <= settings.REFUSED
    refused = page("settings.rst").partition("so they are refused:")[2].partition("\n\n")[0]
    assert set(re.findall(r"``([\w.]+)``", refused)) == settings.REFUSED


def test_every_variable_of_the_environment_has_its_setting():
    source = "".join(path.read_text() for path in PACKAGE.glob("*.py"))
    variables = set(re.findall(r"environ(?:ment)?\.get\(\"([A-Z_]+)\"", source))
    assert {"NETRC", "NOTIFY_SOCKET"} <= variables
    variables -= {"WATCHDOG_PID"}  # systemd's business
    variables |= {"XDG_STATE_HOME"}  # platformdirs reads it
    assert missing(variables, page("settings.rst")) == []


def test_every_page_is_in_the_table_of_contents():
    pages = {path.stem for path in (ROOT / "docs").glob("*.rst")} - {"index"}
    listed = re.findall(r"^   (?:.*<)?([\w-]+)>?$", page("index.rst"), re.MULTILINE)
    assert pages <= set(listed)


def commands_in(text):
    """The commands that stand on lines of their own, as a shell would split them."""
    text = re.sub(r"\\\n *", " ", text)
    for line in re.findall(r"^ +(?:\$ )?igwn-style-client (.*)$", text, re.MULTILINE):
        line, *_ = re.split(" {3,}", line)  # what a help text says of it
        words = shlex.split(line, comments=True)
        ends = [words.index(word) for word in ("|", ">", "&&") if word in words]
        yield words[: min(ends, default=len(words))]


def parse(command, words, parent=None):
    """Parse a command as click does before it runs it."""
    with command.make_context(command.name, list(words), parent=parent) as context:
        if isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
            _, below, rest = command.resolve_command(context, rest)
            parse(below, rest, context)


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "docs").glob("*.rst")), ROOT / "README.md"], ids=lambda path: path.name
)
def test_the_commands_are_ones(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    profiles = tmp_path / "config.toml"
    profiles.write_text("[profiles.playground]\n[profiles.local]\n")
    for name in ("alerts.db", "aside.db", "alert.json", "alerts.jsonl"):
        Path(name).touch()
    for words in commands_in(path.read_text()):
        try:
            parse(main, words)
        except click.exceptions.Exit:  # --help and --version
            pass
        except click.UsageError as error:
            pytest.fail(f"{path.name}: igwn-style-client {shlex.join(words)}: {error}")


def test_a_command_that_is_none_is_found():
    [words] = commands_in("text\n\n   $ igwn-style-client listen --sinec 2h | jq\n")
    with pytest.raises(click.NoSuchOption):
        parse(main, words)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "follow-up.service"
    text = (ROOT / "docs" / "examples" / unit.name).read_text()
    unit.write_text(text.replace("/opt/follow-up/.venv/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(path):
    text = (ROOT / path).read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**six**", True),
        ("``six``", True),
        ("``igwn_style_client.six``", True),
        ("six of them", False),
        ("``sixty``", False),
        ("**six``", False),
    ],
)
def test_a_name_counts_where_it_stands_out(text, expected):
    assert is_named("six", text) is expected
