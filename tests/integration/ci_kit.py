"""The services that give CI jobs and workloads their identities, as each documents its own, and a Sigstore for them.

Fulcio runs with the rules of the public-good instance, out of its own sources: which claims become which name and which
extensions of the certificate is theirs to say. Only the addresses of the issuers are ours.
"""

import contextlib
import json
import subprocess
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from app.local.sigstore import LocalSigstore
from app.local.tools import go, pins

SHA = "5f3c6f0c2e4bb1b3a6a4a7c4f8b3f8b4b1a2c3d4"
REQUEST_TOKEN = "of the runner"

#: By service: the kind of issuer in Fulcio's configuration, and what its tokens say beside the registered claims.
SERVICES = {
    "github": ("github-workflow", {
        "sub": "repo:acme/policy:ref:refs/heads/main", "ref": "refs/heads/main", "sha": SHA,
        "repository": "acme/policy", "repository_owner": "acme", "repository_owner_id": "12", "run_id": "77",
        "run_number": "10", "run_attempt": "2",
        "repository_visibility": "private", "repository_id": "74", "actor_id": "13", "actor": "octocat",
        "workflow": "release", "head_ref": "", "base_ref": "", "event_name": "push", "ref_type": "branch",
        "workflow_ref": "acme/policy/.github/workflows/release.yml@refs/heads/main", "workflow_sha": SHA,
        "job_workflow_ref": "acme/policy/.github/workflows/release.yml@refs/heads/main", "job_workflow_sha": SHA,
        "runner_environment": "github-hosted",
    }),
    "gitlab": ("gitlab-pipeline", {
        "sub": "project_path:acme/policy:ref_type:branch:ref:main", "namespace_id": "72", "namespace_path": "acme",
        "project_id": "20", "project_path": "acme/policy", "user_id": "1", "user_login": "dev", "pipeline_id": "574",
        "pipeline_source": "push", "job_id": "302", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
        "ref_protected": "true", "runner_id": 1, "runner_environment": "gitlab-hosted", "sha": SHA,
        "project_visibility": "private", "ci_config_ref_uri": "gitlab.com/acme/policy//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": SHA,
    }),
    "buildkite": ("buildkite-job", {
        "sub": f"organization:acme:pipeline:policy:ref:refs/heads/main:commit:{SHA}:step:release",
        "organization_slug": "acme", "pipeline_slug": "policy", "build_number": 9, "build_branch": "main",
        "build_commit": SHA, "build_source": "webhook", "step_key": "release",
        "job_id": "0184990a-477b-4fa8-9968-496074483cee", "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
        "runner_environment": "self-hosted",
    }),
    "circleci": ("circleci-job", {
        "sub": "org/o-1/project/p-1/user/u-1", "oidc.circleci.com/project-id": "p-1",
        "oidc.circleci.com/pipeline-definition-id": "d-1", "oidc.circleci.com/pipeline-id": "i-1",
        "oidc.circleci.com/workflow-id": "w-1", "oidc.circleci.com/job-id": "j-1",
        "oidc.circleci.com/ssh-rerun": False, "oidc.circleci.com/vcs-ref": "refs/heads/main",
        "oidc.circleci.com/vcs-origin": "github.com/acme/policy",
    }),
    "google": ("", {
        "sub": "103412345678901234567", "azp": "103412345678901234567", "email_verified": True,
        "email": "release@acme.iam.gserviceaccount.com",
    }),
    "spire": ("", {"sub": "spiffe://example.org/ci/release"}),
}  # fmt: skip


class Issuers(ThreadingHTTPServer):
    """The issuers' documents, and the two addresses at which a runner and a machine of Google Cloud ask for tokens."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answering)
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.key = rsa.generate_private_key(65537, 2048)
        #: What was asked of Google's addresses, and with which body.
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, service):
        return f"{self.base}/{service}"

    def token(self, service, audience="sigstore", **changed):
        now = int(time.time())
        own = {"iss": self.url(service), "aud": audience, "iat": now, "nbf": now, "exp": now + 300, "jti": "1"}
        return jwt.encode({**SERVICES[service][1], **own, **changed}, self.key, "RS256", headers={"kid": "1"})

    def document(self, path):
        """A public one: discovery and keys of each issuer."""
        service = path.split("/")[1]
        if path.endswith("/.well-known/openid-configuration"):
            return {"issuer": self.url(service), "jwks_uri": f"{self.url(service)}/jwks",
                    "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"]}  # fmt: skip
        if path.endswith("/jwks"):
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]}
        return None

    def close(self):
        self.shutdown()
        self.server_close()


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(asked.query))
        audience = query.get("audience")
        allowed, answer = True, self.server.document(asked.path)
        if asked.path == "/runner":  # GitHub's
            allowed = self.headers["Authorization"] == f"bearer {REQUEST_TOKEN}" and query["api-version"] == "2.0"
            answer = {"count": 1, "value": self.server.token("github", audience)}
        elif asked.path.startswith("/computeMetadata/"):  # Google's
            self.server.asked.append((self.path, b""))
            allowed = self.headers["Metadata-Flavor"] == "Google"
            wanted = asked.path.endswith("/identity")
            answer = self.server.token("google", audience) if wanted else {"access_token": "of the machine"}
        self._answer(allowed, answer)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, body))
        allowed = self.headers["Authorization"] == "Bearer of the machine"
        self._answer(allowed, {"token": self.server.token("google", json.loads(body)["audience"])})

    def _answer(self, allowed, answer):
        raw = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(200 if allowed and answer is not None else 403)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


def _public_rules():
    """Fulcio's own configuration, out of the module that the pinned Fulcio is built from."""
    fulcio = pins.tool("fulcio")
    answer = subprocess.run(
        [go.find_go(fulcio.go_version, print).binary, "mod", "download", "-json", fulcio.requirement],
        cwd=fulcio.directory, capture_output=True, text=True, timeout=300, check=True,
    ).stdout  # fmt: skip
    return yaml.safe_load((Path(json.loads(answer)["Dir"]) / "config/identity/config.yaml").read_text())


@contextlib.contextmanager
def stand(directory):
    """The issuers, and a Sigstore whose Fulcio takes their tokens by the public-good instance's rules."""
    issuers, rules = Issuers(), _public_rules()
    known = {one.get("ci-provider") for one in rules["oidc-issuers"].values()}
    trusted = {}
    for service, (provider, _) in SERVICES.items():
        url = issuers.url(service)
        assert not provider or provider in known, provider
        kind = {"type": "ci-provider", "ci-provider": provider} if provider else {"type": "email"}
        if service != "spire":
            trusted[url] = {"issuer-url": url, "client-id": "sigstore", **kind}
    more = {"oidc-issuers": trusted, "ci-issuer-metadata": rules["ci-issuer-metadata"]}
    spire = {issuers.url("spire"): "example.org"}
    try:
        with LocalSigstore(directory, fulcio_config=more, spiffe_issuers=spire) as sigstore:
            yield issuers, sigstore
    finally:
        issuers.close()
