"""What people import."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import igwn_style_client
from igwn_style_client import errors

PACKAGE = Path(igwn_style_client.__file__).parent
ROOMS = sorted(path.stem for path in PACKAGE.glob("[!_]*.py"))


def test_all_is_the_namespace():
    names = {
        name
        for name in dir(igwn_style_client)
        if not name.startswith("_") and not isinstance(getattr(igwn_style_client, name), ModuleType)
    }
    assert set(igwn_style_client.__all__) == names | {"__version__"}
    assert len(igwn_style_client.__all__) == len(set(igwn_style_client.__all__))


def test_import_star_gives_the_client():
    namespace = {}
    exec("from igwn_style_client import *", namespace)
    assert isinstance(namespace["client"], type)
    assert namespace["client"] is namespace["IGWNAlertClient"]


def test_the_client_goes_by_both_names():
    assert igwn_style_client.IGWNAlertClient is igwn_style_client.client


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert igwn_style_client.__version__ == version("igwn-style-client")


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_offers(room):
    tree = ast.parse((PACKAGE / f"{room}.py").read_text())
    said = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [getattr(target, "id", None) for target in node.targets] == ["__all__"]
    ]
    assert len(said) == 1, f"{room}.py has {len(said)} times __all__"
    names = ast.literal_eval(said[0])
    module = importlib.import_module(f"igwn_style_client.{room}")
    assert [name for name in names if not hasattr(module, name)] == []
    assert [name for name in names if name.startswith("_")] == []
    assert len(names) == len(set(names))


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_and_what_it_offers_says_what_it_is(room):
    module = importlib.import_module(f"igwn_style_client.{room}")
    assert module.__doc__
    offered = [getattr(module, name) for name in module.__all__]
    own = [one for one in offered if getattr(one, "__module__", None) == module.__name__]
    assert [one.__qualname__ for one in own if not one.__doc__] == []


def test_all_errors_are_exported():
    kinds = {
        name
        for name in errors.__all__
        if inspect.isclass(getattr(errors, name))
        and issubclass(getattr(errors, name), errors.ClientError)
    }
    assert len(kinds) >= 10
    assert kinds - set(igwn_style_client.__all__) == set()


QUIET = """
import json, logging, sys

events = []
records = []

def audit(event, arguments):
    # socket.bind alone contacts nobody: urllib3 tries so whether there is IPv6.
    calls = ("connect", "sendto", "sendmsg", "getaddrinfo", "gethostby")
    if event.startswith((*(f"socket.{call}" for call in calls), "subprocess.", "os.fork")):
        events.append(event)

class Handler(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())

logging.basicConfig(level=logging.DEBUG, handlers=[Handler()])
before = list(logging.getLogger().handlers)
sys.addaudithook(audit)
import igwn_style_client
found = {
    "events": events,
    "records": records,
    "own": len(logging.getLogger("igwn_style_client").handlers),
    "root": logging.getLogger().handlers == before,
}
with open(sys.argv[1], "w") as report:
    json.dump(found, report)
"""


def test_importing_is_silent_and_contacts_nobody(tmp_path):
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET, report], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = json.loads(report.read_text())
    assert found == {"events": [], "records": [], "own": 0, "root": True}


def printed(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_library_user_does_not_pay_for_the_command_line():
    code = "import sys, igwn_style_client; print(sorted({'click', 'rich'} & sys.modules.keys()))"
    assert printed(code) == "[]\n"


LATER = ["Archive", "Check", "EmbeddedBroker", "Receipt", "Unconfirmed", "replay", "simulate"]


@pytest.mark.parametrize("name", LATER)
def test_a_name_that_is_imported_later_is_there_from_the_beginning(name):
    code = f"""
import pickle, sys, igwn_style_client
assert {name!r} in dir(igwn_style_client) and {name!r} not in vars(igwn_style_client)
from igwn_style_client import {name}
room = sys.modules[{name}.__module__]
assert room.{name} is igwn_style_client.{name} is pickle.loads(pickle.dumps({name}))
print(room.__name__)
"""
    room = printed(code).strip()
    assert f"\n{room}\n" not in printed(
        "import sys, igwn_style_client; print('', *sys.modules, '', sep='\\n')"
    )


def test_a_name_that_is_not_there():
    with pytest.raises(
        AttributeError, match="module 'igwn_style_client' has no attribute 'nonsense'"
    ):
        igwn_style_client.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        exec("from igwn_style_client import nonsense")
