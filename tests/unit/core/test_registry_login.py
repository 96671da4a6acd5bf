import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import registry_login
from app.core.errors import PlacetError
from app.core.registry_login import find

HOST, NAME = "registry.example.org:5000", "team/app/policy"


def encoded(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path, **config):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def docker(home, **config):
    return write(home / ".docker" / "config.json", **config)


def test_nobody_is_logged_in(home):
    assert find(HOST, NAME) is None
    docker(home, auths={"other.example.org": encoded("u", "p"), HOST: {}})
    assert find(HOST, NAME) is None


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/", f"http://{HOST}/v2/", f"{HOST}/v1"])
def test_a_host_under_all_the_names_that_clients_gave_it(home, key):
    file = docker(home, auths={key: encoded("user", "pass:word")})
    login = find(HOST, NAME)
    assert (login.user, login.secret, login.file) == ("user", "pass:word", file)
    assert base64.b64decode(login.basic.removeprefix("Basic ")) == b"user:pass:word"
    assert login.identity_token is None
    assert find("registry.example.org", NAME) is None
    assert find(f"x{HOST}", NAME) is None


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io"])
def test_dockers_own_registry(home, host):
    docker(home, auths={"https://index.docker.io/v1/": encoded("user", "x")})
    assert find(host, NAME).user == "user"


def test_the_narrowest_part_of_a_path(home):
    parts = {HOST: "all", f"{HOST}/team": "team", f"{HOST}/team/app": "app", f"{HOST}/te": "te"}
    docker(home, auths={name: encoded(user, "x") for name, user in parts.items()})
    assert find(HOST, NAME).user == "app"
    assert find(HOST, "team/other").user == "team"
    assert find(HOST, "tea").user == "all"


def test_where_logins_are(home, monkeypatch):
    other = write(home / ".config" / "containers" / "auth.json", auths={HOST: encoded("podman", "x")})
    assert find(HOST, NAME).user == "podman"
    docker(home, auths={HOST: encoded("docker", "x")})
    assert find(HOST, NAME).user == "docker"
    monkeypatch.setenv(
        "DOCKER_CONFIG", str(write(home / "own" / "config.json", auths={HOST: encoded("own", "x")}).parent)
    )
    assert find(HOST, NAME).user == "own"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(other))
    assert find(HOST, NAME).user == "podman"


def test_a_token_and_a_plain_password(home):
    docker(home, auths={HOST: {**encoded("user", ""), "identitytoken": "t"}})
    assert find(HOST, NAME).identity_token == "t"
    docker(home, auths={HOST: {"username": "user", "password": "p"}})
    assert find(HOST, NAME).secret == "p"


@pytest.fixture
def keeper(home, monkeypatch):
    """A program that keeps logins: what it does is a line of shell."""

    def made(line):
        program = home / "docker-credential-kept"
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    return made


def test_a_program_for_one_registry_and_for_all(home, keeper):
    keeper("""read host; test "$1" = get && printf '{"Username": "%s", "Secret": "s"}' "$host" """)
    docker(home, credHelpers={HOST: "kept"}, auths={HOST: encoded("listed", "x")})
    assert find(HOST, NAME).user == HOST
    assert find("other.example.org", NAME) is None
    docker(home, credsStore="kept")
    assert find("other.example.org", NAME).user == "other.example.org"
    assert find("docker.io", NAME).user == "https://index.docker.io/v1/"


def test_a_program_that_does_not_know_it(home, keeper):
    keeper("echo credentials not found in native keychain; exit 1")
    docker(home, credsStore="kept")
    assert find(HOST, NAME) is None
    docker(home, credsStore="kept", auths={HOST: encoded("listed", "x")})
    assert find(HOST, NAME).user == "listed"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("echo locked >&2; exit 1", "docker-credential-kept did not give the login for .*: locked"),
        ("exit 2", "exit code 2"),
        ("echo nothing", "gave no login"),
        ("sleep 60", "did not answer in 0.5 s"),
    ],
)
def test_a_program_that_fails(home, keeper, monkeypatch, line, says):
    monkeypatch.setattr(registry_login, "_HELPER_TIMEOUT", 0.5 if "sleep" in line else 60)
    keeper(line if "sleep" not in line else "exec sleep 60")
    docker(home, credsStore="kept")
    with pytest.raises(PlacetError, match=says) as error:
        find(HOST, NAME)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["none-of-this-name", "../kept", "a b", "/bin/sh", "", ["kept"]])
def test_a_program_that_is_none(home, keeper, name):
    keeper("exit 1")
    docker(home, credsStore=name)
    if not name:
        assert find(HOST, NAME) is None
        return
    with pytest.raises(PlacetError, match=r"cannot be run|is no name of a docker-credential-… program"):
        find(HOST, NAME)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"auths": 1, "auths": 2}', "\xff"])
def test_a_file_that_is_no_json(home, content):
    docker(home).write_text(content, encoding="latin-1")
    with pytest.raises(PlacetError, match="holds no logins"):
        find(HOST, NAME)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=2)
        | st.dictionaries(
            st.sampled_from([HOST, "auth", "auths", "identitytoken", "username", "password", "credHelpers"]), below
        )
    ),
    max_leaves=8,
)


@given(config=st.dictionaries(st.sampled_from(["auths", "credHelpers"]), JSON))
def test_logins_of_any_form_are_read_or_refused(tmp_path_factory, config):
    file = write(tmp_path_factory.getbasetemp() / "any.json", **config)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("REGISTRY_AUTH_FILE", str(file))
        environment.setenv("PATH", "/nowhere")
        found, said = None, ""
        try:
            found = find(HOST, NAME)
        except PlacetError as error:
            said = str(error)
    assert "\n" not in said
    assert found is None or (found.user and found.basic.startswith("Basic "))
