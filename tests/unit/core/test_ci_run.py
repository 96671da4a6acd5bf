import pytest

from app.core import ci_run, statements

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "example/policy",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
    "RUNNER_ENVIRONMENT": "github-hosted",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example.org",
    "CI_RUNNER_ID": "12",
    "CI_JOB_URL": "https://gitlab.example.org/p/-/jobs/3",
}


@pytest.mark.parametrize(
    ("environment", "builder", "invocation"),
    [
        ({}, statements.BUILDER, None),
        (
            GITHUB,
            "https://github.com/actions/runner/github-hosted",
            "https://github.com/example/policy/actions/runs/7/attempts/2",
        ),
        ({"GITHUB_ACTIONS": "true"}, "https://github.com/actions/runner/self-hosted", None),
        (GITLAB, "https://gitlab.example.org/-/runners/12", "https://gitlab.example.org/p/-/jobs/3"),
        ({"GITLAB_CI": "true"}, statements.BUILDER, None),
        (
            {"BUILDKITE": "true", "BUILDKITE_BUILD_URL": "https://buildkite.com/x/1", "BUILDKITE_JOB_ID": "j"},
            statements.BUILDER,
            "https://buildkite.com/x/1#j",
        ),
    ],
)
def test_the_run_is_named_as_its_system_names_it(environment, builder, invocation):
    assert ci_run.of(environment) == ci_run.Run(builder, invocation)
