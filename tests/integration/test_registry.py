"""Policies out of a real registry, pushed there by a real client, with the logins that people have."""

import base64
import contextlib
import json
import socket
import subprocess
import threading

import httpx
import pytest

from app.core import archive, oci
from app.core.bundle import digest_of
from app.core.errors import PlacetError, UsageError
from app.core.shipped import shipped
from app.local.demo.parts import eventually
from app.local.ports import free_port
from bench.certificate import self_signed

from .registry_kit import PASSWORD, USER, Registry, RegistryUser, Tokens, by_password

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def registries(tmp_path_factory):
    """Registries that let everybody in, those who know the password, and those who have a token."""
    directory = tmp_path_factory.mktemp("registries")
    tokens = Tokens(directory / "tokens")
    with contextlib.ExitStack() as running:
        running.callback(tokens.close)
        found = {"tokens": tokens}
        parts = {"open": None, "password": by_password(directory), "token": tokens.auth}
        for name, auth in parts.items():
            found[name] = Registry(directory / name, auth=auth)
            running.callback(found[name].close)
        yield found


@pytest.fixture(scope="module")
def layout(tmp_path_factory, opa_binary):
    """The example policy as an OCI layout that `placet` wrote, pushed to nowhere yet."""
    person = RegistryUser(tmp_path_factory.mktemp("author") / "home")
    person.placet("bundle", "build", shipped("bundles") / "payments", "-o", "oci:layout", "--opa", opa_binary)
    return person.home / "layout"


@pytest.fixture(scope="module")
def pushed(tmp_path_factory, registries, layout):
    """Pushed to all of them, by somebody who is logged in."""
    person = RegistryUser(tmp_path_factory.mktemp("pusher") / "home")
    for name in ("password", "token"):
        person.log_in(registries[name])
    for name in ("open", "password", "token"):
        person.push(layout, registries[name], "team/payments:v1")
    return json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]


@pytest.fixture
def person(tmp_path, pushed):
    """Somebody who is logged in nowhere."""
    return RegistryUser(tmp_path / "home")


def build(person, opa, source, **options):
    return person.placet("bundle", "build", source, "-o", "pulled.tar.gz", "--opa", opa, **options)


def pull(person, source):
    """The same without a process of its own."""
    with person.here():
        return oci.read(source)


def refused(person, source, kind=PlacetError):
    """The one line that says why nothing is pulled."""
    with pytest.raises(PlacetError) as error:
        pull(person, source)
    assert type(error.value) is kind
    assert "\n" not in str(error.value)
    assert PASSWORD not in str(error.value)
    return str(error.value)


def rego(raw):
    return {path: content for path, content in archive.read_archive(raw).items() if path.endswith(".rego")}


# ---- what is built from it ---------------------------------------------------------------------------------------


def test_a_build_by_tag_and_by_digest(person, registries, pushed, layout, opa_binary):
    source = f"oci://{registries['open'].host}/team/payments"
    manifest = json.loads((layout / "blobs" / "sha256" / pushed.removeprefix("sha256:")).read_bytes())
    layer = (layout / "blobs" / "sha256" / manifest["layers"][0]["digest"].removeprefix("sha256:")).read_bytes()
    built = []
    for address in (f"{source}:v1", f"{source}@{pushed}", f"{source}:v1@{pushed}"):
        build(person, opa_binary, address)
        raw = (person.home / "pulled.tar.gz").read_bytes()
        built.append(raw)
        assert rego(raw) == rego(layer)
        notes = json.loads((person.home / "pulled.tar.gz.build.json").read_bytes())
        assert notes["inputs"] == [{"uri": address, "digest": {"sha256": pushed.removeprefix("sha256:")}}]
    assert len(set(built)) == 1


def test_a_bundle_that_others_pushed(person, registries, layout, opa_binary):
    """By `oras push`, as OPA's documentation has it: another configuration, and a file beside the bundle."""
    person.placet("bundle", "build", f"oci:{layout}", "-o", "bundle.tar.gz", "--opa", opa_binary)
    (person.home / "README.md").write_text("read me\n")
    name = f"{registries['open'].host}/others/payments:1.0"
    files = ["bundle.tar.gz:application/vnd.oci.image.layer.v1.tar+gzip", "README.md:text/markdown"]
    person.oras("push", "--plain-http", name, *files)
    build(person, opa_binary, f"oci://{name}")
    assert rego((person.home / "pulled.tar.gz").read_bytes()) == rego((person.home / "bundle.tar.gz").read_bytes())


def test_opa_itself_takes_what_we_wrote(person, registries, opa_binary):
    registry = registries["password"]
    port = free_port()
    bearer = {"scheme": "Basic", "token": f"{USER}:{PASSWORD}"}
    service = {"url": f"http://{registry.host}", "type": "oci", "credentials": {"bearer": bearer}}
    bundle = {"service": "registry", "resource": f"{registry.host}/team/payments:v1"}
    config = {"services": {"registry": service}, "bundles": {"payments": bundle}}
    (person.home / "opa.json").write_text(json.dumps({**config, "persistence_directory": str(person.home / "opa")}))
    opa = subprocess.Popen(
        [opa_binary, "run", "--server", "--addr", f"127.0.0.1:{port}", "--config-file", person.home / "opa.json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=person.home,
    )  # fmt: skip

    def activated():
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"http://127.0.0.1:{port}/health?bundles", trust_env=False)
            return answer.status_code == 200 and httpx.get(f"http://127.0.0.1:{port}/v1/policies").json()["result"]
        return None

    try:
        [module] = eventually("OPA activates the bundle", activated, within=60)
    finally:
        opa.kill()
        opa.wait()
    assert module["id"].endswith("authz.rego")


def test_what_is_not_there(person, registries):
    source = f"oci://{registries['open'].host}/team/payments:v2"
    assert "the registry has no such artifact" in refused(person, source, UsageError)


def test_bytes_that_have_another_digest(tmp_path, layout):
    """A registry whose disk was changed: whatever it sends is compared with what was asked for."""
    person = RegistryUser(tmp_path / "home")
    registry = Registry(tmp_path / "registry")
    try:
        person.push(layout, registry, "team/payments:v1")
        source = f"oci://{registry.host}/team/payments:v1"
        pull(person, source)
        digest = digest_of((layout / "index.json").read_bytes())
        missing = refused(person, f"{source}@{digest}", UsageError)
        assert "the registry has no such artifact" in missing
        manifest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"].removeprefix("sha256:")
        layer = json.loads((layout / "blobs" / "sha256" / manifest).read_bytes())["layers"][0]["digest"]
        [stored] = (tmp_path / "registry" / "blobs").rglob(f"{layer.removeprefix('sha256:')}/data")
        whole = bytearray(stored.read_bytes())
        whole[len(whole) // 2] ^= 1
        stored.write_bytes(whole)
        assert f"{layer} has another digest" in refused(person, source)
    finally:
        registry.close()


# ---- logins ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["password", "token"])
def test_a_login_is_that_of_oras(person, registries, kind):
    source = f"oci://{registries[kind].host}/team/payments:v1"
    said = refused(person, source)
    assert f"the registry wants a login; log in with docker login {registries[kind].host}" in said
    person.log_in(registries[kind])
    pull(person, source)


@pytest.mark.parametrize("kind", ["password", "token"])
def test_a_login_that_a_program_keeps(person, registries, kind):
    program = person.keeps_logins_in_a_program("keeper")
    source = f"oci://{registries[kind].host}/team/payments:v1"
    assert "wants a login" in refused(person, source)
    person.log_in(registries[kind])
    assert PASSWORD in program.with_suffix(".json").read_text()
    assert USER not in person.config.read_text()
    pull(person, source)

    program.write_text("#!/bin/sh\necho the keychain is locked >&2\nexit 1\n")
    assert "did not give the login for" in (said := refused(person, source))
    assert "the keychain is locked" in said
    program.unlink()
    assert "docker-credential-keeper, which cannot be run" in refused(person, source)


def test_a_build_without_the_right_login_is_one_line(person, registries, opa_binary):
    source = f"oci://{registries['password'].host}/team/payments:v1"
    done = build(person, opa_binary, source, expect=1)
    [line] = done.stderr.splitlines()
    assert line.startswith(f"placet: {source}: the registry wants a login; log in with ")
    assert not (person.home / "pulled.tar.gz").exists()
    person.log_in(registries["password"])
    build(person, opa_binary, source)


@pytest.mark.parametrize("kind", ["password", "token"])
def test_a_wrong_password(person, registries, kind):
    registry = registries[kind]
    wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
    person.config.parent.mkdir()
    person.config.write_text(json.dumps({"auths": {registry.host: {"auth": wrong}}}))
    said = refused(person, f"oci://{registry.host}/team/payments:v1")
    assert f"the registry does not let '{USER}' pull it (the login of {person.config})" in said
    assert "log in again" in said


def test_an_identity_token_in_place_of_a_password(person, registries):
    """As registries of clouds give it to `docker login`: it is changed for a token of the registry."""
    registry, tokens = registries["token"], registries["tokens"]
    source = f"oci://{registry.host}/team/payments:v1"
    person.config.parent.mkdir()
    person.config.write_text(json.dumps({"auths": {registry.host: {"identitytoken": Tokens.IDENTITY}}}))
    pull(person, source)
    assert tokens.asked[-1] == ("POST", "placet")
    person.config.write_text(json.dumps({"auths": {registry.host: {"identitytoken": "expired"}}}))
    assert "does not let your token pull it" in refused(person, source)


def test_what_everybody_may_pull_needs_no_login(person, registries, layout):
    registry, tokens = registries["token"], registries["tokens"]
    person.log_in(registry)
    person.push(layout, registry, "open/payments:v1")
    person.config.unlink()
    pull(person, f"oci://{registry.host}/open/payments:v1")
    assert tokens.asked[-1] == ("GET", "nobody")


def test_the_login_of_podman(person, registries):
    """Its file may have a login for a part of a registry; the narrowest one counts."""
    registry = registries["password"]
    right, wrong = (base64.b64encode(f"{USER}:{one}".encode()).decode() for one in (PASSWORD, "wrong"))
    file = person.home / "auth.json"
    file.write_text(json.dumps({"auths": {registry.host: {"auth": wrong}, f"{registry.host}/team": {"auth": right}}}))
    person.variables = {"REGISTRY_AUTH_FILE": str(file)}
    pull(person, f"oci://{registry.host}/team/payments:v1")
    file.write_text("{")
    said = refused(person, f"oci://{registry.host}/team/payments:v1")
    assert f"{file} holds no logins" in said


# ---- on the way --------------------------------------------------------------------------------------------------


def test_tls_where_it_leaves_the_machine(tmp_path, layout):
    """Another address than the loopback one is asked by TLS alone, and the certificate has to be trusted."""
    certificate, key = self_signed(tmp_path, "127.0.0.2")
    person = RegistryUser(tmp_path / "home")
    registry = Registry(
        tmp_path / "registry", auth=by_password(tmp_path), address="127.0.0.2",
        tls={"certificate": str(certificate), "key": str(key)},
    )  # fmt: skip
    try:
        trusted = ["--ca-file", certificate]
        person.oras("login", registry.host, *trusted, "-u", USER, "--password-stdin", stdin=PASSWORD)
        person.oras("cp", "--from-oci-layout", f"{layout}:latest", "--to-ca-file", certificate,
                    f"{registry.host}/team/payments:v1")  # fmt: skip
        source = f"oci://{registry.host}/team/payments:v1"
        assert "CERTIFICATE_VERIFY_FAILED" in refused(person, source)
        person.variables = {"SSL_CERT_FILE": str(certificate)}
        pull(person, source)
    finally:
        registry.close()


def test_nothing_is_said_without_tls_elsewhere(tmp_path):
    heard = []

    def listen():
        connection, _ = listening.accept()
        with connection:
            heard.append(connection.recv(1000))

    listening = socket.create_server(("127.0.0.2", free_port()))
    with listening:
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        source = f"oci://127.0.0.2:{listening.getsockname()[1]}/team/payments:v1"
        assert "does not answer" in refused(RegistryUser(tmp_path / "home"), source)
        thread.join(timeout=30)
    assert heard[0][:2] == b"\x16\x03"  # the first record of TLS
