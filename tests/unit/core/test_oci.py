import gzip
import http.server
import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core import oci, oci_registry
from app.core.bundle import digest_of
from app.core.errors import PlacetError, UsageError

from .tars import bundle

RAW = bundle()


@pytest.fixture
def layout(tmp_path):
    for name, content in oci.layout(RAW, "x.tar.gz").items():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return tmp_path


def manifest_digest(files):
    return json.loads(files["index.json"])["manifests"][0]["digest"]


def test_a_layout_gives_back_its_bundle(layout):
    digest = manifest_digest(oci.layout(RAW, "x.tar.gz"))
    for source in (f"oci:{layout}", f"oci:{layout}:latest", f"oci:{layout}@{digest}"):
        assert oci.read(source) == (RAW, digest)


def test_a_layout_is_reproducible_and_names_what_it_holds():
    files = oci.layout(RAW, "x.tar.gz")
    assert files == oci.layout(RAW, "x.tar.gz")
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert digest_of(content) == "sha256:" + name.rsplit("/", 1)[-1]
    manifest = json.loads(files["blobs/sha256/" + manifest_digest(files).removeprefix("sha256:")])
    [layer] = manifest["layers"]
    assert (layer["digest"], layer["size"]) == (digest_of(RAW), len(RAW))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda at: (at / "index.json").unlink(), "no OCI layout"),
        (lambda at: (at / "index.json").write_text("{"), "not JSON"),
        (lambda at: (at / "index.json").write_text('{"manifests": [{"digest": "sha256:../../x"}]}'), "SHA-256"),
        (lambda at: (at / "index.json").write_text('{"manifests": []}'), "0 manifests"),
        (lambda at: (at / "blobs/sha256" / digest_of(RAW)[7:]).write_bytes(RAW + b"x"), "another digest"),
        (lambda at: (at / "blobs/sha256" / digest_of(RAW)[7:]).unlink(), "cannot read"),
    ],
)
def test_a_layout_that_is_spoilt(layout, spoil, says):
    spoil(layout)
    with pytest.raises(PlacetError, match=says) as error:
        oci.read(f"oci:{layout}")
    assert "\n" not in str(error.value)


def test_a_tag_that_is_not_there(layout):
    with pytest.raises(UsageError, match="names 0 manifests"):
        oci.read(f"oci:{layout}:other")


@pytest.mark.parametrize(
    "source",
    [
        "oci://",
        "oci://host",
        "oci://host/x",
        "oci://host/X:1",
        "oci://u:p@host/x:1",
        "oci://host/x:",
        "oci://h/x@sha256:1",
    ],
)
def test_a_reference_that_is_none(source):
    with pytest.raises(UsageError, match="write oci://HOST/NAME:TAG"):
        oci.read(source)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("sha256:" + "0" * 64),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["manifests", "layers", "digest", "mediaType", "annotations", "x"]), below, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=JSON)
def test_an_index_of_any_form_is_read_or_refused(layout, document):
    (layout / "index.json").write_text(json.dumps(document))
    with pytest.raises(PlacetError) as error:
        oci.read(f"oci:{layout}")
    assert "\n" not in str(error.value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=JSON)
def test_a_manifest_of_any_form_is_read_or_refused(layout, document):
    raw = json.dumps(document).encode()
    (layout / "blobs/sha256" / digest_of(raw)[7:]).write_bytes(raw)
    (layout / "index.json").write_text(json.dumps({"manifests": [{"digest": digest_of(raw)}]}))
    with pytest.raises(PlacetError):
        oci.read(f"oci:{layout}")


# ---- a registry --------------------------------------------------------------------------------------------


class Registry:
    """The pull half of the distribution API over one layout, with anonymous tokens, on a port of this machine."""

    def __init__(self):
        self.files = oci.layout(RAW, "x.tar.gz")
        self.digest = manifest_digest(self.files)
        self.token = "t0k3n"
        self.redirect = None
        self.challenge = None
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                registry.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        if request.path.startswith("/token?"):
            assert "scope=repository%3Ateam%2Fx%3Apull" in request.path
            return self.send(request, 200, json.dumps({"token": self.token}).encode())
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            usual = f'Bearer realm="http://{self.host}/token",service="r",scope="repository:team/x:pull"'
            challenge = usual if self.challenge is None else self.challenge
            return self.send(request, 401, b"", {"WWW-Authenticate": challenge})
        kind, _, name = request.path.removeprefix("/v2/team/x/").partition("/")
        if kind == "blobs" and self.redirect:
            return self.send(request, 307, b"", {"Location": self.redirect})
        digest = self.digest if name == "v1" else name
        content = self.files.get("blobs/sha256/" + digest.removeprefix("sha256:"))
        return self.send(request, 404 if content is None else 200, content or b"{}")

    def send(self, request, status, body, headers=None):
        if "gzip" in request.headers.get("Accept-Encoding", ""):  # as proxies do
            body, headers = gzip.compress(body), {**(headers or {}), "Content-Encoding": "gzip"}
        request.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """For somebody who is logged in nowhere."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    registry = Registry()
    yield registry
    registry.server.shutdown()


@pytest.mark.parametrize("token", ["t0k3n", None])
def test_a_pull_by_tag_and_by_digest(registry, token):
    registry.token = token
    assert oci.read(f"oci://{registry.host}/team/x:v1") == (RAW, registry.digest)
    assert oci.read(f"oci://{registry.host}/team/x@{registry.digest}") == (RAW, registry.digest)


def test_an_artifact_that_is_not_there(registry):
    with pytest.raises(UsageError, match="no such artifact"):
        oci.read(f"oci://{registry.host}/team/x:other")


def test_a_registry_that_gives_other_bytes(registry):
    blob = "blobs/sha256/" + digest_of(RAW).removeprefix("sha256:")
    registry.files[blob] = RAW + b"x"
    with pytest.raises(PlacetError, match="another digest"):
        oci.read(f"oci://{registry.host}/team/x:v1")


def test_a_registry_that_gives_another_manifest(registry):
    other = "sha256:" + "0" * 64
    registry.files["blobs/sha256/" + "0" * 64] = b"{}"
    with pytest.raises(PlacetError, match="another digest"):
        oci.read(f"oci://{registry.host}/team/x@{other}")


def test_a_registry_that_leads_away_from_tls(registry):
    registry.redirect = "http://storage.example.org/x"
    with pytest.raises(PlacetError, match="without TLS"):
        oci.read(f"oci://{registry.host}/team/x:v1")


def test_a_registry_that_sends_too_much(registry, monkeypatch):
    monkeypatch.setattr(oci, "_MAX_DOCUMENT", 100)
    with pytest.raises(PlacetError, match="more than 100 bytes"):
        oci.read(f"oci://{registry.host}/team/x:v1")


def test_a_registry_that_never_ends(registry, monkeypatch):
    monkeypatch.setattr(oci_registry, "_LONGEST", -1)
    with pytest.raises(PlacetError, match="took more than -1 s for one answer"):
        oci.read(f"oci://{registry.host}/team/x:v1")


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        ('Bearer realm="http://tokens.example.org/"', "asks for logins at an address without TLS"),
        ('Bearer realm="https://tokens.example.org:x/"', "does not answer: InvalidURL"),
        ("Bearer x", "asks for logins at an address without TLS"),
        ("Negotiate", "wants a login"),
        ("", "wants a login"),
    ],
)
def test_a_challenge_that_nobody_meets(registry, challenge, says):
    registry.challenge = challenge
    with pytest.raises(PlacetError, match=says) as error:
        oci.read(f"oci://{registry.host}/team/x:v1")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("address", ["https://[::1", "https://exa mple/", "https://xn--a/", "https://a:99999999/"])
@pytest.mark.parametrize("as_token_realm", [False, True])
def test_an_address_that_is_none(registry, address, as_token_realm):
    if as_token_realm:
        registry.challenge = f'Bearer realm="{address}"'
    else:
        registry.redirect = address
    with pytest.raises(PlacetError, match="the registry does not answer: ") as error:
        oci.read(f"oci://{registry.host}/team/x:v1")
    assert "\n" not in str(error.value)


def test_a_registry_that_is_not_there():
    with pytest.raises(PlacetError, match="does not answer"):
        oci.read("oci://127.0.0.1:1/team/x:v1")
