"""Which run of which CI system this is, as SLSA provenance names it.

These are claims of the environment: who signed is what the certificate says, not what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.core import statements


@dataclass(frozen=True)
class Run:
    """Who builds, and in which invocation; both URIs."""

    builder: str = statements.BUILDER
    invocation: str | None = None


def of(environment: Mapping[str, str]) -> Run:
    """The run that the variables of a CI job describe; outside of CI, our own command line."""
    if environment.get("GITHUB_ACTIONS") == "true":
        kind = environment.get("RUNNER_ENVIRONMENT", "self-hosted")
        run = _joined(environment, "GITHUB_SERVER_URL", "GITHUB_REPOSITORY")
        number, attempt = environment.get("GITHUB_RUN_ID"), environment.get("GITHUB_RUN_ATTEMPT", "1")
        # https://github.com/actions/runner is how SLSA's own tools name the two kinds of GitHub's runners.
        return Run(
            f"https://github.com/actions/runner/{kind}",
            f"{run}/actions/runs/{number}/attempts/{attempt}" if run and number else None,
        )
    if environment.get("GITLAB_CI") == "true":
        server, runner = environment.get("CI_SERVER_URL"), environment.get("CI_RUNNER_ID")
        return Run(
            f"{server}/-/runners/{runner}" if server and runner else statements.BUILDER, environment.get("CI_JOB_URL")
        )
    if environment.get("BUILDKITE") == "true":
        job = _joined(environment, "BUILDKITE_BUILD_URL", "BUILDKITE_JOB_ID", "#")
        return Run(statements.BUILDER, job)
    return Run()


def _joined(environment: Mapping[str, str], first: str, second: str, by: str = "/") -> str | None:
    left, right = environment.get(first), environment.get(second)
    return f"{left}{by}{right}" if left and right else None
