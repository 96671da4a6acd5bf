"""The templates for CI fit the schemas, and their scripts, run as they stand, make a release that verifies."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from app.core import statements
from app.core.shipped import shipped

from .control_kit import placet

pytestmark = pytest.mark.stack

CI = Path(__file__).parents[2] / "ci"
ACTION, WORKFLOW, GITLAB = CI / "github/action.yml", CI / "github/release.yml", CI / "gitlab/placet.gitlab-ci.yml"
BIN = Path(sys.executable).parent
JOB = "ci@example.org"


def schema(kind, path):
    return subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{kind}", path],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("kind", "path"), [("github-actions", ACTION), ("github-workflows", WORKFLOW), ("gitlab-ci", GITLAB)]
)
def test_a_template_fits_its_systems_schema(kind, path, tmp_path):
    found = schema(kind, path)
    assert found.returncode == 0, found.stdout
    wrong = yaml.safe_load(path.read_text())
    part = {"github-actions": "runs", "github-workflows": "jobs", "gitlab-ci": "policy-release"}[kind]
    (tmp_path / path.name).write_text(yaml.safe_dump(wrong | {part: 1}))
    assert schema(kind, tmp_path / path.name).returncode != 0


def test_what_a_caller_gives_is_no_part_of_a_script():
    for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_no_python_of_the_repository_runs_while_placet_is_installed(tmp_path):
    """Whoever may change a policy must not thereby sign as the workflow: `python -m` looks in the directory first."""
    [install, *_] = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    gitlab = yaml.safe_load(GITLAB.read_text())["policy-release"]["before_script"]
    for lines in (install["run"].splitlines(), gitlab):
        [made] = [line.split() for line in lines if "venv" in line and line.startswith("python3 ")]
        for module in ("venv", "os", "types", "logging"):
            (tmp_path / f"{module}.py").write_text("raise SystemExit(9)\n")
        command = [sys.executable, *made[1:-1], "--without-pip", str(tmp_path / "made")]
        assert subprocess.run(command, cwd=tmp_path, timeout=120).returncode == 0
        shutil.rmtree(tmp_path / "made")


@pytest.mark.parametrize(
    ("variables", "published"),
    [
        ({"CI_COMMIT_BRANCH": "main"}, True),
        ({"CI_COMMIT_TAG": "v1"}, True),
        ({"CI_COMMIT_BRANCH": "main", "PLACET_SERVER": ""}, False),
        ({"CI_COMMIT_BRANCH": "feature"}, False),
        ({"CI_COMMIT_BRANCH": "main-2"}, False),
        ({"CI_MERGE_REQUEST_IID": "7"}, False),  # the pipeline of a merge request has neither branch nor tag
    ],
)
def test_gitlab_publishes_the_default_branch_and_tags_alone(tmp_path, variables, published):
    template = yaml.safe_load(GITLAB.read_text())
    [script] = [one for one in template["policy-release"]["script"] if "bundle publish" in one]
    (tmp_path / "placet").write_text('#!/bin/sh\necho "placet $*"\n')
    (tmp_path / "placet").chmod(0o755)
    given = {"CI_DEFAULT_BRANCH": "main", "PLACET_SERVER": "https://placet.example.org", **variables}
    done = subprocess.run(
        ["sh", "-ec", script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **template["variables"], **given},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("placet bundle publish policy.tar.gz" if published else "not published: ")


def test_github_publishes_the_main_branch_alone():
    [given] = [
        step["with"]
        for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["release"]["steps"]
        if step["uses"].endswith("placet")
    ]
    assert given["server"] == "${{ github.ref == 'refs/heads/main' && vars.PLACET_SERVER || '' }}"


def test_the_workflow_gives_the_action_what_it_knows():
    action = yaml.safe_load(ACTION.read_text())["inputs"]
    [given] = [
        step["with"]
        for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["release"]["steps"]
        if step["uses"].endswith("placet")
    ]
    assert set(given) <= set(action)
    assert {name for name, one in action.items() if one["required"]} <= set(given)


@pytest.fixture
def work(tmp_path):
    shutil.copytree(shipped("bundles") / "payments", tmp_path / "policy")
    return tmp_path


@pytest.fixture
def run(work, sigstore):
    """Runs a job's scripts in its directory, with nothing of this process's environment but PATH and HOME."""

    def script(lines, **variables):
        environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", str(work)), **variables}
        environment |= {name: os.environ[name] for name in ("PLACET_CACHE_DIR", "XDG_CACHE_HOME") if name in os.environ}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", "\n".join(lines)],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr

    return script


def is_released(work, sigstore):
    (work / "v.yaml").write_text(
        yaml.safe_dump(
            {
                "identities": [{"identity": JOB, "issuer": sigstore.issuer_url}],
                "required_predicates": [statements.PROVENANCE, statements.TEST_RESULT, statements.LINK],
            }
        )
    )
    options = ["--policy", work / "v.yaml", "--trust-config", sigstore.trust_config, "--output", "json"]
    assert json.loads(placet("bundle", "verify", work / "policy.tar.gz", *options).stdout)["verified"] is True
    assert (work / "placet-tests.xml").exists()


def test_the_gitlab_job(work, run, sigstore):
    template = yaml.safe_load(GITLAB.read_text())
    assert template["policy-release"]["id_tokens"] == {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}
    variables = template["variables"] | {"PLACET_TRUST_CONFIG": str(sigstore.trust_config)}
    run(template["policy-release"]["script"], GITLAB_CI="true", SIGSTORE_ID_TOKEN=sigstore.token(JOB), **variables)
    is_released(work, sigstore)


@pytest.fixture
def github(sigstore):
    """What GitHub gives a job with `id-token: write`: an address that answers with a token."""
    asked = []

    class Tokens(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            body = json.dumps({"value": sigstore.token(JOB)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/token?api-version=2", asked
    server.shutdown()
    server.server_close()


def test_the_github_action(work, run, sigstore, github):
    url, asked = github
    action = yaml.safe_load(ACTION.read_text())
    inputs = {name: one.get("default", "") for name, one in action["inputs"].items()}
    inputs["trust-config"] = str(sigstore.trust_config)
    lines, variables = [], {}
    for step in action["runs"]["steps"]:
        if step["name"].startswith("Install") or "if" in step:
            continue  # the one needs a package index, the other a control plane
        lines.append(step["run"])
        for name, value in step.get("env", {}).items():
            variables[name] = inputs[re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)[1]]
    output = work / "output"
    run(
        lines,
        GITHUB_ACTIONS="true",
        GITHUB_OUTPUT=str(output),
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="request",
        ACTIONS_ID_TOKEN_REQUEST_URL=url,
        **variables,
    )
    is_released(work, sigstore)
    assert re.fullmatch(r"digest=sha256:[0-9a-f]{64}\n", output.read_text())
    assert asked
    assert all(path == "/token?api-version=2&audience=sigstore" and by == "bearer request" for path, by in asked)
