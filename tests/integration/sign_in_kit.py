"""A real OpenID Connect provider with a login page (zitadel/oidc), and a local Sigstore that trusts it for people."""

import contextlib
import json
import subprocess
import sys
import urllib.parse

import httpx
import requests

from app.local import tools
from app.local.demo.parts import eventually
from app.local.ports import free_port
from app.local.sigstore import LocalSigstore

PASSWORD = "correct horse"


class Provider:
    """Knows these people, by e-mail address. Its `sub` is no address, as a real one's is none."""

    def __init__(self, directory, *people):
        directory.mkdir()
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        users = {
            f"user-{number}": {"ID": f"user-{number}", "Username": one, "Password": PASSWORD, "Email": one,
                               "EmailVerified": True}
            for number, one in enumerate(people)
        }  # fmt: skip
        (directory / "users.json").write_text(json.dumps(users))
        binary = tools.install(["oidc-provider"])["oidc-provider"]
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen([binary, address, directory / "users.json"], stdout=log, stderr=log)
        eventually("the provider answers", self._answers, within=60)

    def _answers(self):
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/.well-known/openid-configuration", trust_env=False).status_code == 200
        return False

    def close(self):
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def stand(directory, *people):
    """The provider, the Sigstore, and a trust config by which people sign in at the provider."""
    provider = Provider(directory / "provider", *people)
    issuer = {"issuer-url": provider.url, "client-id": "sigstore", "type": "email"}
    try:
        with LocalSigstore(directory / "sigstore", fulcio_config={"oidc-issuers": {provider.url: issuer}}) as sigstore:
            trust = json.loads(sigstore.trust_config.read_bytes())
            trust["signingConfig"]["oidcUrls"][0]["url"] = provider.url
            (directory / "trust-config.json").write_text(json.dumps(trust))
            yield provider, directory / "trust-config.json"
    finally:
        provider.close()


#: A browser that goes where it is led, and comes back with an answer of its own making.
_AGENT = """\
import sys, urllib.error, urllib.parse, urllib.request

class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None

def go(url):
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay).open(url, timeout=20)

try:
    go(sys.argv[-1])
except urllib.error.HTTPError as leads:
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(leads.headers["Location"]).query))
answer = {name: value.format(**asked) for name, value in urllib.parse.parse_qsl(sys.argv[1])}
go(asked["redirect_uri"] + "?" + urllib.parse.urlencode(answer))
"""


def agent(directory, **answer):
    """The value of BROWSER for one that brings back `answer`, where `{state}` is the state that was asked."""
    script = directory / "agent.py"
    script.write_text(_AGENT)
    return f"{sys.executable} {script} '{urllib.parse.urlencode(answer)}' %s"


def code_for(link, who, password=PASSWORD):
    """What the provider shows to somebody who follows the link on another machine and signs in."""
    with requests.Session() as elsewhere:  # httpx takes no redirect to a urn
        elsewhere.trust_env = False
        form = elsewhere.get(link, timeout=20)
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(form.url).query))["authRequestID"]
        login = {"id": asked, "username": who, "password": password}
        address = urllib.parse.urljoin(form.url, "/login/username")
        signed_in = elsewhere.post(address, data=login, timeout=20, allow_redirects=False)
        address = urllib.parse.urljoin(form.url, signed_in.headers["Location"])
        back = elsewhere.get(address, timeout=20, allow_redirects=False).headers["Location"]
    assert back.startswith("urn:ietf:wg:oauth:2.0:oob?")
    return dict(urllib.parse.parse_qsl(back.partition("?")[2]))["code"]
