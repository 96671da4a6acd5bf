"""A person signs a release with a browser: authorization code and PKCE, at a provider that is not of our making."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import webbrowser
from pathlib import Path

import pytest

from app.core.errors import PlacetError
from app.core.signing import BY_CODE, SigningSession, identity_token
from app.core.trust import TrustConfig
from cli import signing as options

from .control_kit import PLACET
from .person_kit import Person
from .sign_in_kit import PASSWORD, agent, code_for, stand

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

ME, OTHER = "dev@example.org", "other@example.org"
POLICY = "package app\n\ndefault allow := false\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The provider, and somebody at a laptop whose trust config names it, with a bundle that waits to be signed."""
    with stand(tmp_path_factory.mktemp("stand"), ME, OTHER) as (provider, trust_config):
        person = Person(tmp_path_factory.mktemp("person") / "home")
        (person.home / "policy").mkdir()
        (person.home / "policy" / "app.rego").write_text(POLICY)
        person.variables = {name: os.environ[name] for name in ("PLACET_CACHE_DIR",) if name in os.environ}
        person.variables["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        person.placet("bundle", "build", "policy", "--entrypoint", "app/allow", "-o", "x.tar.gz")
        yield person, provider, trust_config


@pytest.fixture
def trust(home):
    return TrustConfig.from_file(home[2])


@pytest.fixture
def laptop(monkeypatch):
    """This process as one on a laptop: in no CI job, with BROWSER as a test says."""
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "GOOGLE_SERVICE_ACCOUNT_NAME", BY_CODE):
        monkeypatch.delenv(name, raising=False)
    # The standard library looks for browsers once in a process.
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    monkeypatch.setattr(webbrowser, "_browsers", {})
    return lambda browser: monkeypatch.setenv("BROWSER", browser)


def refused(call):
    with pytest.raises(PlacetError) as error:
        call()
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_release_that_a_person_signed_in_a_browser(home, chromium):
    person, provider, trust_config = home
    opened = person.home / "opened"
    opener = person.home / "open"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n')
    opener.chmod(0o755)
    command = [PLACET, "bundle", "sign", "x.tar.gz", "--trust-config", trust_config, "--output", "json"]
    with subprocess.Popen(
        command, cwd=person.home, env=person.environment | {"BROWSER": str(opener)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as placet:  # fmt: skip
        deadline = time.monotonic() + 60
        while not opened.exists():
            assert placet.poll() is None and time.monotonic() < deadline, placet.stderr.read()
            time.sleep(0.05)
        page = chromium.new_page()
        page.goto(opened.read_text())
        page.get_by_label("Username").fill(ME)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Login").click()
        page.get_by_text("username or password wrong").wait_for()  # and nothing has come back yet
        assert placet.poll() is None
        page.get_by_label("Username").fill(ME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Login").click()
        page.get_by_text("authentication successful").wait_for()
        page.close()
        out, errors = placet.communicate(timeout=60)
    assert placet.returncode == 0, errors
    said = json.loads(out)
    assert (said["identity"], said["issuer"]) == (ME, provider.url)

    def verify(who, expect):
        who = ("--certificate-identity", who, "--certificate-oidc-issuer", provider.url)
        return person.placet("bundle", "verify", "x.tar.gz", *who, "--trust-config", trust_config, expect=expect)

    verify(ME, expect=0)
    assert f"signed by {ME} (by {provider.url})" in verify(OTHER, expect=3).stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "access_denied", "state": "{state}"}, "access_denied; give --identity-token FILE"),
        ({"code": "x", "state": "of another login"}, "OAuth state mismatch"),
        ({"code": "x"}, "the issuer's answer has no 'state'"),
        ({"state": "{state}"}, "the issuer's answer has no 'code'"),
        ({"code": "made-up", "state": "{state}"}, "Token request failed with 400"),
    ],
)
def test_what_comes_back_and_is_no_identity(trust, laptop, tmp_path, answer, said):
    laptop(agent(tmp_path, **answer))
    assert said in refused(lambda: identity_token(trust, None, None))


def test_a_window_that_is_closed_is_not_waited_for_forever(home, laptop, monkeypatch):
    laptop("true")
    monkeypatch.setattr(options, "_SIGN_IN", 1)
    assert "nobody signed in within" in refused(lambda: options.session(home[2], False, None))


def test_nobody_is_there(home):
    person, _, trust_config = home
    (person.home / "empty").mkdir(exist_ok=True)
    for variables in ({"PATH": str(person.home / "empty")}, {BY_CODE: "1"}):
        done = subprocess.run(
            [PLACET, "bundle", "sign", "x.tar.gz", "--trust-config", trust_config], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, cwd=person.home, env=person.environment | variables,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "placet: nobody is here to sign in: no terminal and no browser; give --identity-token FILE\n"
        )


class Terminal:
    """`placet bundle sign` where somebody types, and no browser is."""

    def __init__(self, person, trust_config):
        self._mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [PLACET, "bundle", "sign", "x.tar.gz", "--trust-config", trust_config, "--output", "json"],
            stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=person.home,
            env=person.environment | {BY_CODE: "true"}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def wait_for(self, pattern):
        deadline = time.monotonic() + 60
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, self.shown
            if select.select([self._mine], [], [], 0.2)[0]:
                self.shown += os.read(self._mine, 10_000).decode()
        return found

    def type(self, text):
        os.write(self._mine, text.encode() + b"\n")

    def interrupt(self):
        """Ctrl-C, and once more where it came between the prompt and the wait for an answer, which then goes on."""
        for _ in range(3):
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=15)
                return

    def end(self):
        out, _ = self.process.communicate(timeout=60)
        while select.select([self._mine], [], [], 0.2)[0]:
            try:
                self.shown += os.read(self._mine, 10_000).decode()
            except OSError:  # its other end is closed
                break
        os.close(self._mine)
        return self.process.returncode, out


def test_without_a_browser_a_code_is_typed(home):
    person, provider, trust_config = home
    terminal = Terminal(person, trust_config)
    link = terminal.wait_for(r"(http\S+)\s")[1]
    terminal.wait_for("Enter verification code: ")
    terminal.type(code_for(link, OTHER))
    code, out = terminal.end()
    assert code == 0, terminal.shown
    assert (json.loads(out)["identity"], json.loads(out)["issuer"]) == (OTHER, provider.url)


def test_who_gives_up_ends_it(home):
    person, _, trust_config = home
    terminal = Terminal(person, trust_config)
    terminal.wait_for("Enter verification code: ")
    terminal.interrupt()
    assert terminal.end() == (130, "")
    assert "Traceback" not in terminal.shown


def test_the_certificate_says_who_signs_whatever_the_token_calls_him(home, trust, laptop, monkeypatch, capsys):
    """The provider's `sub` is `user-0`; the e-mail address is what Fulcio certifies and verifiers look for."""
    monkeypatch.setenv(BY_CODE, "1")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: code_for(re.search(r"http\S+", capsys.readouterr().err)[0], ME))
    session = SigningSession(trust, identity_token(trust, None, None))
    assert (session.identity, session.issuer) == (ME, home[1].url)
