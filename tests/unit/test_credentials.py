"""Where a credential comes from; what failing says; that no secret is told."""

import copy
import logging
import os
import re
import traceback
from itertools import product
from pathlib import Path

import certifi
import pytest
from adc.auth import SASLMethod
from hop.auth import Auth

from igwn_style_client.credentials import describe, find, risks, select, with_ca
from igwn_style_client.errors import ClientError, CredentialError, CredentialFileMissing

SECRET = "hunter2hunter2"
SERVER = "kafka://kafka.test/"
MACHINES = [SERVER, "kafka://kafka.test", "kafka.test:9092", "kafka.test"]

TOML = '[[auth]]\nusername = "{0}"\npassword = "' + SECRET + '"\n'
NETRC = "machine {1} login {0} password " + SECRET + "\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of its own for every test, with nothing in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    for name in [one for one in os.environ if one.startswith(("NETRC", "IGWN_STYLE_CLIENT_"))]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(autouse=True)
def everything_logged(caplog):
    """Look at every line of every test for the secret."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.records:
        assert SECRET not in record.getMessage()
        assert SECRET not in repr(record.args)


def write(path, text, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def auth_toml(home, text=None, **kwargs):
    return write(home / ".config/hop/auth.toml", text or TOML.format("from-hop"), **kwargs)


def config_toml(home, text=None, **kwargs):
    return write(home / ".config/hop/config.toml", text or TOML.format("from-config"), **kwargs)


def netrc(home, text=None, **kwargs):
    return write(home / ".netrc", text or NETRC.format("from-netrc", "kafka.test"), **kwargs)


def look(username=None, password=None, auth=None, authfile=None, noauth=False, machines=MACHINES):
    return find(username, password, auth, authfile, noauth, machines)


def refused(**kwargs):
    """Return the error of `look`, after looking for the secret in all that is shown of it."""
    with pytest.raises(CredentialError) as raised:
        look(**kwargs)
    error = raised.value
    assert isinstance(error, (ClientError, RuntimeError))
    shown = "".join(traceback.format_exception(error))
    for text in (str(error), repr(error), repr(error.args), shown):
        assert SECRET not in text
    return error


def name(found):
    if not found:
        return found
    [one] = found if isinstance(found, list) else [found]
    assert one.password == SECRET
    return one.username


# The order


def test_the_order_is_fixed(home):
    mine = Auth("from-auth", SECRET)
    authfile = write(home / "mine.toml", TOML.format("from-authfile"))
    sources = [
        ("from-auth", {"auth": mine}),
        (False, {"noauth": True}),
        ("from-username", {"username": "from-username", "password": SECRET}),
        ("from-authfile", {"authfile": authfile}),
        ("from-hop", auth_toml),
        ("from-netrc", netrc),
    ]
    for chosen in product([True, False], repeat=len(sources)):
        present = [one for one, there in zip(sources, chosen, strict=True) if there]
        (home / ".netrc").unlink(missing_ok=True)
        (home / ".config/hop/auth.toml").unlink(missing_ok=True)
        kwargs = {}
        for _, source in present:
            if isinstance(source, dict):
                kwargs |= source
            else:
                source(home)
        if not present:
            continue
        assert name(look(**kwargs)) == present[0][0], present


def test_nothing_found_is_unauthenticated_with_a_warning():
    with pytest.warns(
        UserWarning, match="^No authentication found. Proceeding with unauthenticated session"
    ):
        assert look() is False


def test_asking_for_no_authentication_warns_nobody():
    assert look(noauth=True) is False
    assert look(auth=False) is False


def test_auth_is_handed_on_as_it_is():
    one = Auth("user", SECRET)
    several = [one, Auth("other", SECRET)]
    assert look(auth=one, noauth=True, username="half") is one
    assert look(auth=several) is several


def test_auth_true_is_to_look_it_up(home):
    auth_toml(home)
    assert name(look(auth=True)) == "from-hop"


@pytest.mark.parametrize(
    "half", [{"username": "user"}, {"password": SECRET}, {"username": "", "password": SECRET}]
)
def test_half_a_credential(home, half):
    auth_toml(home)  # is no reason to take another one
    assert str(refused(**half)) == (
        "You must provide both a username and a password for basic authentication."
    )


# auth.toml


def test_an_authfile_may_be_a_str_or_a_path(home):
    path = write(home / "mine.toml", TOML.format("mine"))
    assert name(look(authfile=path)) == name(look(authfile=str(path))) == "mine"


def test_an_authfile_may_hold_several(home):
    path = write(home / "mine.toml", TOML.format("one") + TOML.format("two"))
    assert [one.username for one in look(authfile=path)] == ["one", "two"]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "plain", ""])
def test_a_mechanism_that_nobody_knows(home, mechanism):
    path = write(home / "mine.toml", TOML.format("one") + f'mechanism = "{mechanism}"\n')
    error = refused(authfile=path)
    assert str(error).startswith(f"{path}: its mechanism is none that is known here")
    assert SECRET not in str(error)


def test_the_old_form_of_one_table(home):
    path = write(home / "mine.toml", TOML.format("one").replace("[[auth]]", "[auth]"))
    assert name(look(authfile=path)) == "one"


def test_a_missing_authfile(home):
    auth_toml(home)
    error = refused(authfile=home / "absent.toml")
    assert isinstance(error, FileNotFoundError)
    assert isinstance(error, RuntimeError)
    assert str(error) == f"there is no credential file '{home}/absent.toml'"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666, 0o755])
def test_an_unsafe_authfile(home, mode):
    path = write(home / "mine.toml", TOML.format("mine"), mode=mode)
    error = refused(authfile=path)
    assert str(error) == f"{path} can be read by others; make it safe with: chmod 0600 {path}"


def test_an_unsafe_file_at_hops_place(home):
    path = auth_toml(home, mode=0o644)
    netrc(home)  # is no reason to take another one
    assert f"chmod 0600 {path}" in str(refused())


BROKEN = {
    "empty": "",
    "no auth": "[other]\nkey = 1\n",
    "no username": f'[auth]\npassword = "{SECRET}"\n',
    "no password": '[auth]\nusername = "user"\n',
    "empty list": "auth = []\n",
    "a number": "auth = 5\n",
    "a str": f'auth = "{SECRET}"\n',
    "unquoted": f'[auth]\nusername = "user"\npassword = {SECRET}\n',
    "unquoted digits first": f'[auth]\nusername = "user"\npassword = 12{SECRET}\n',
    "unquoted date": f'[auth]\nusername = "user"\npassword = 2024-01-01{SECRET}\n',
    "unquoted in a list": f'[auth]\nusername = "user"\npassword = [12{SECRET}]\n',
    "unclosed": f'[auth]\nusername = "user"\npassword = "{SECRET}\n',
    "after the end": f'[auth]\nusername = "user"\npassword = "a" {SECRET}\n',
    "twice": f'[auth]\nusername = "u"\npassword = "{SECRET}"\npassword = "{SECRET}"\n',
    "no equals sign": f'[auth]\nusername = "user"\npassword {SECRET}\n',
    "no value": f"[auth]\n{SECRET}",
    "mechanism": f'[auth]\nusername = "u"\npassword = "{SECRET}"\nmechanism = "{SECRET}"\n',
    "mechanism a number": f'[auth]\nusername = "u"\npassword = "{SECRET}"\nmechanism = 5\n',
    "section": f"[{SECRET}\n",
    "escape": f'[auth]\nusername = "user"\npassword = "\\{SECRET}"\n',
    "unicode escape": f'[auth]\nusername = "user"\npassword = "\\u{SECRET}"\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_authfile_is_named_and_tells_no_secret(home, text):
    path = write(home / "mine.toml", text)
    error = refused(authfile=path)
    assert str(path) in str(error)
    assert not isinstance(error, FileNotFoundError)


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_at_hops_place_is_not_passed_over(home, text):
    path = write(home / ".config/hop/auth.toml", text)
    netrc(home)
    assert str(path) in str(refused())


def test_an_authfile_that_is_no_text(home):
    path = home / "mine.toml"
    path.write_bytes(b"\xff\xfe" + SECRET.encode())
    path.chmod(0o600)
    assert str(path) in str(refused(authfile=path))


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_folder_is_no_authfile_and_is_not_to_be_made_safe(home, mode):
    folder = home / "folder"
    folder.mkdir()
    folder.chmod(mode)
    error = refused(authfile=folder)
    assert str(folder) in str(error)
    assert "chmod" not in str(error)  # it would lock its owner out


def test_an_empty_authfile_name_is_none_as_in_igwn_alert(home):
    auth_toml(home)
    assert name(look(authfile="")) == "from-hop"


# config.toml, where hop kept credentials before


def test_an_old_config_file_still_counts(home):
    config_toml(home)
    assert name(look()) == "from-config"


def test_a_config_file_without_credentials_is_no_reason_to_stop(home):
    config_toml(home, "[config]\nfetch_external = true\n", mode=0o644)
    netrc(home)
    assert name(look()) == "from-netrc"


# netrc


@pytest.mark.parametrize("machine", MACHINES)
def test_a_server_may_stand_in_netrc_as_url_or_as_host(home, machine):
    netrc(home, NETRC.format("user", machine))
    assert name(look()) == "user"


@pytest.mark.parametrize("machine", ["other.test", "kafka.test:1234", "kafka", "kafka.test.other"])
def test_another_server_does_not_count(home, machine):
    netrc(home, NETRC.format("user", machine))
    with pytest.warns(UserWarning, match="No authentication found"):
        assert look() is False


def test_the_more_exact_name_wins(home):
    text = "".join(NETRC.format(f"user{i}", one) for i, one in enumerate(reversed(MACHINES)))
    netrc(home, text)
    assert name(look()) == "user3"


def test_default_is_no_credential_for_a_broker(home):
    netrc(home, f"default login anonymous password {SECRET}\n")
    with pytest.warns(UserWarning, match="No authentication found"):
        assert look() is False


def test_netrc_may_lie_elsewhere(home, monkeypatch):
    netrc(home, NETRC.format("at-home", "kafka.test"))
    path = write(home / "elsewhere", NETRC.format("elsewhere", "kafka.test"))
    monkeypatch.setenv("NETRC", str(path))
    assert name(look()) == "elsewhere"
    monkeypatch.setenv("NETRC", "")
    assert name(look()) == "at-home"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_an_unsafe_netrc(home, mode):
    path = netrc(home, mode=mode)
    assert str(refused()) == (f"{path} can be read by others; make it safe with: chmod 0600 {path}")


@pytest.mark.parametrize(
    "text",
    [
        f"machine kafka.test login user pass {SECRET}\n",
        f"{SECRET}\n",
        f"machine a login b password {SECRET}\nmachine kafka.test {SECRET}\n",
    ],
)
def test_a_broken_netrc_is_named_with_its_line(home, text):
    path = netrc(home, text)
    assert re.fullmatch(rf"{path} .+ line \d+; a line .+", str(refused()))


@pytest.mark.parametrize(
    "text",
    ["machine kafka.test login user\n", f"machine kafka.test password {SECRET}\n"],
)
def test_half_a_credential_in_netrc(home, text):
    path = netrc(home, text)
    assert str(path) in str(refused())


def test_a_netrc_that_is_no_text(home):
    path = home / ".netrc"
    path.write_bytes(b"machine \xff\xfe login a password " + SECRET.encode())
    path.chmod(0o600)
    assert str(path) in str(refused())


def test_a_folder_is_no_netrc(home):
    (home / ".netrc").mkdir(mode=0o700)
    assert str(home / ".netrc") in str(refused())


# Places without a home: a service of systemd has no HOME


def test_without_a_home_netrc_is_still_found(home, monkeypatch):
    path = netrc(home)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("NETRC", str(path))
    assert name(look()) == "from-netrc"


# Logs


def described(**given):
    """What is said of the one credential that is found."""
    found = look(**given)
    [one] = found if isinstance(found, list) else [found]
    text = describe(one)
    assert SECRET not in text
    return text


@pytest.mark.parametrize("put", [auth_toml, config_toml, netrc])
def test_a_credential_says_whose_it_is_and_from_where(home, put):
    path = put(home)
    assert described() == f'user "{name(look())}" by SCRAM-SHA-512, from {path}'


def test_what_was_given_says_so(home):
    origin = "username= and password="
    text = f'user "me" by SCRAM-SHA-512, from {origin}'
    assert described(username="me", password=SECRET) == text
    mine = Auth("me", SECRET, method=SASLMethod.PLAIN)
    assert described(auth=mine) == 'user "me" by PLAIN, from auth='
    assert describe(None) == "no credential"


def test_where_it_came_from_survives_another_ca(home):
    netrc(home)
    ca = write(home / "ca.pem", "")
    assert describe(with_ca(look(), str(ca))) == describe(look())


# The environment


@pytest.fixture
def environment(monkeypatch, home):
    """Set variables of ours; a value that is a Path's name is that of a mounted secret."""

    def set_(**variables):
        for variable, value in variables.items():
            if variable.endswith("_FILE") and not value.startswith("/"):
                value = str(write(home / "run" / variable, value, mode=0o644))
            monkeypatch.setenv(f"IGWN_STYLE_CLIENT_{variable}", value)

    return set_


def test_the_environment_comes_last(home, environment):
    environment(USERNAME="from-environment", PASSWORD=SECRET)
    assert name(look()) == "from-environment"
    assert described() == 'user "from-environment" by SCRAM-SHA-512, from the environment'
    netrc(home)
    assert name(look()) == "from-netrc"


def test_secrets_may_be_mounted(environment):
    environment(USERNAME_FILE="from-file\n", PASSWORD_FILE=SECRET + "\r\n")
    assert name(look()) == "from-file"


def test_a_mounted_secret_keeps_its_spaces(environment):
    environment(USERNAME="me", PASSWORD_FILE=f" {SECRET} \n")
    assert look().password == f" {SECRET} "


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
def test_the_mechanism_may_be_chosen(environment, mechanism):
    environment(USERNAME="me", PASSWORD=SECRET, MECHANISM=mechanism)
    assert look().mechanism == mechanism


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"USERNAME": "me"}, "set IGWN_STYLE_CLIENT_PASSWORD, or"),
        ({"PASSWORD": SECRET}, "set IGWN_STYLE_CLIENT_USERNAME, or"),
        ({"USERNAME": "me", "PASSWORD_FILE": "\n"}, "half a credential"),
        (
            {"USERNAME": "me", "PASSWORD": SECRET, "PASSWORD_FILE": SECRET},
            "both IGWN_STYLE_CLIENT_PASSWORD and IGWN_STYLE_CLIENT_PASSWORD_FILE are set",
        ),
        (
            {"USERNAME": "me", "PASSWORD_FILE": "/no/such"},
            "PASSWORD_FILE names, /no/such, does not exist",
        ),
        (
            {"USERNAME": "me", "PASSWORD": SECRET, "MECHANISM": "GSSAPI"},
            "MECHANISM must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512: GSSAPI",
        ),
    ],
)
def test_a_broken_environment(environment, variables, says):
    environment(**variables)
    assert says in str(refused())


# What is left open


@pytest.mark.parametrize(
    ("auth", "options", "says"),
    [
        (Auth("me", SECRET), {}, None),
        (Auth("me", SECRET), {"enable.ssl.certificate.verification": "true"}, None),
        (None, {}, None),
        (Auth("me", SECRET), {"enable.ssl.certificate.verification": False}, "not verified"),
        (Auth("me", SECRET), {"ssl.endpoint.identification.algorithm": "none"}, "host name"),
        (
            Auth("me", SECRET, ssl_endpoint_identification_algorithm="none"),
            {},
            "host name is not verified",
        ),
        (Auth("me", SECRET, ssl=False), {}, "there is no TLS: all that is sent"),
        (Auth("me", SECRET, ssl=False, method=SASLMethod.PLAIN), {}, "the password and all"),
    ],
)
def test_what_a_credential_leaves_open_is_said(auth, options, says):
    found = risks(auth, options)
    assert len(found) == (says is not None)
    assert says is None or says in found[0]
    assert SECRET not in "".join(found)


# Choosing among several


def several():
    return [
        Auth("alice", SECRET, host="kafka.test"),
        Auth("bob", SECRET, host="other.test:1234"),
        Auth("carol", SECRET, host="kafka.test"),
        Auth("dave", SECRET),
    ]


@pytest.mark.parametrize("auth", [None, [], ()])
def test_no_credential_chooses_none(auth):
    assert select(auth, "kafka.test:9092", None) is None


@pytest.mark.parametrize("user", [None, ""])
def test_the_only_one_is_chosen(user):
    only = Auth("alice", SECRET)
    assert select([only], "kafka.test:9092", user) is only


@pytest.mark.parametrize(
    ("broker", "username", "chosen"),
    [
        ("kafka.test:9092", "alice", "alice"),
        ("kafka.test:9092", "carol", "carol"),
        ("other.test:1234", None, "bob"),
        ("other.test:1234", "", "bob"),
        ("third.test:9092", None, "dave"),
        ("kafka.test:9092", "dave", "dave"),
    ],
)
def test_the_one_that_fits_is_chosen(broker, username, chosen):
    assert select(several(), broker, username).username == chosen


def test_more_than_one_fits():
    with pytest.raises(CredentialError) as raised:
        select(several(), "kafka.test:9092", None)
    message = str(raised.value)
    assert "alice" in message
    assert "carol" in message
    assert message.endswith("Choose one by its user name in the URL: kafka://USER@kafka.test:9092/")
    assert SECRET not in message


@pytest.mark.parametrize(
    ("broker", "username"), [("third.test:9092", None), ("kafka.test:9092", "erin")]
)
def test_none_fits(broker, username):
    auth = several()[:3]
    with pytest.raises(CredentialError, match=broker) as raised:
        select(auth, broker, username)
    assert username is None or username in str(raised.value)
    assert SECRET not in str(raised.value)


# A private CA


@pytest.fixture
def ca(home):
    return str(write(home / "ca.pem", "certificate", mode=0o644))


def test_credentials_without_a_ca_of_their_own_get_it(ca):
    auth = Auth("user", SECRET)
    changed = with_ca(auth, ca)
    assert changed.ssl_ca_location == ca
    assert changed()["https.ca.location"] == ca
    assert (changed.username, changed.password) == ("user", SECRET)
    assert auth.ssl_ca_location == certifi.where()  # the user's own is left as it is


def test_credentials_with_a_ca_of_their_own_keep_it(ca):
    auth = Auth("user", SECRET, ssl_ca_location="/etc/own.pem")
    assert with_ca(auth, ca) is auth
    assert auth.ssl_ca_location == "/etc/own.pem"


def test_credentials_without_tls_need_none(ca):
    auth = Auth("user", SECRET, ssl=False)
    assert with_ca(auth, ca) is auth
    assert auth.ssl_ca_location is None


def test_every_credential_of_a_list(ca):
    auth = [Auth("a", SECRET), Auth("b", SECRET, ssl_ca_location="/own.pem"), Auth("c", SECRET)]
    before = copy.copy(auth)
    changed = with_ca(auth, ca)
    assert [one.ssl_ca_location for one in changed] == [ca, "/own.pem", ca]
    assert auth == before


def test_the_method_is_kept(ca):
    auth = Auth("user", SECRET, method=SASLMethod.PLAIN)
    assert with_ca(auth, ca).mechanism == "PLAIN"


@pytest.mark.parametrize("auth", [None, False, []])
def test_no_credential_needs_no_ca(ca, auth):
    assert with_ca(auth, ca) is auth


def test_no_ca_changes_nothing():
    auth = Auth("user", SECRET)
    assert with_ca(auth, None) is auth


def test_a_missing_ca_file(home):
    with pytest.raises(CredentialFileMissing) as raised:
        with_ca(Auth("user", SECRET), str(home / "absent.pem"))
    assert str(raised.value) == f"ssl_ca_location: there is no file '{home}/absent.pem'"
    assert isinstance(raised.value, FileNotFoundError)


def test_the_house_of_the_tests_is_not_the_users(home):
    assert Path.home() == home
