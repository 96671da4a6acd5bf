import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.signer_pattern import check_pattern, matches
from tests.soon import soon

WORKFLOW = r"^https://github\.com/acme/policy/\.github/workflows/release\.yml@refs/tags/v[0-9]+\.[0-9]+$"
GOOD = {
    WORKFLOW: "https://github.com/acme/policy/.github/workflows/release.yml@refs/tags/v1.20",
    r"^https://github\.com/acme/[^/]+/\.github/workflows/(release|hotfix)\.yml@refs/heads/main$": (
        "https://github.com/acme/other/.github/workflows/hotfix.yml@refs/heads/main"
    ),
    r"^spiffe://example\.org/sidecar/[^/]+/[a-z0-9-]+$": "spiffe://example.org/sidecar/payments/one-2",
    r"^ci-[0-9]{1,3}@example\.org$": "ci-42@example.org",
    r"^[a-z]+\+release@example\.org$": "lead+release@example.org",
}


@pytest.mark.parametrize("pattern", GOOD)
def test_a_pattern_is_of_the_whole_name(pattern):
    name = GOOD[pattern]
    assert check_pattern(pattern) == pattern
    assert matches(pattern, name)
    for near in (f"{name}/x", f"!{name}", f"{name}\n", f"\n{name}", f"{name} ", f"{name}@", "", name.upper()):
        assert not matches(pattern, near), near


@pytest.mark.parametrize("instead", ["x", "/", "..", "\u2024", ""])
def test_a_dot_is_a_dot(instead):
    assert not matches(WORKFLOW, GOOD[WORKFLOW].replace("github.com", f"github{instead}com"))
    assert not matches(WORKFLOW, GOOD[WORKFLOW].replace("release.yml", f"release{instead}yml"))


def test_no_name_beyond_ascii_matches():
    assert matches(r"^[^/]+@example\.org$", "ci@example.org")
    for name in ("c\u0456@example.org", "ci\u200b@example.org", "ci@example.org\0", "c\ti@example.org"):
        assert not matches(r"^[^/]+@example\.org$", name)


def test_a_branch_is_no_tag_whatever_its_name():
    """GitHub's identity ends with @ and the ref; git lets a branch be called x@refs/tags/v1."""
    release = "https://github.com/acme/policy/.github/workflows/release.yml@refs"
    for pattern in (
        r"^https://github\.com/acme/policy/[^~]+@refs/tags/v[0-9]+$",
        r"^https://github\.com/acme/policy/[^%]+[^~]+\.yml@refs/[^~]*tags/v[0-9]+$",
    ):
        assert matches(check_pattern(pattern), f"{release}/tags/v1")
        assert not matches(pattern, f"{release}/heads/x@refs/tags/v1")
        assert not matches(pattern, f"{release}/heads/x.yml@refs/tags/v1")


def test_an_address_that_ends_like_an_e_mail_address_is_none():
    pattern = check_pattern(r"^[^@]+@example\.org$")
    assert matches(pattern, "ci@example.org")
    for name in ("https://example.com/ci@example.org", "spiffe://example.com/ci@example.org", "a@b@example.org"):
        assert not matches(pattern, name)
    assert matches(check_pattern(r"^https:\/\/github\.com\/acme\/[a-z]+$"), "https://github.com/acme/x")


REFUSED = {
    "": "begins with",
    "ci@example.org": "begins with",
    r"ci-[0-9]+@example\.org$": "begins with",
    r"^ci-[0-9]+@example\.org": "begins with",
    "^ci-[0-9]+@example\\.org$\n": "begins with",
    "^ci-[0-9]+@example\\$": "begins with",
    "^ci-[0-9]+@example.org$": r"character 19 of the pattern, '.': write \\. for a dot",
    r"^.*@example\.org$": r"character 2 of the pattern, '.': write \\. for a dot",
    r"^a[0-9]@a\.b$|^b[0-9]@a\.b$": "ends with|stands at the end only",
    r"^a[0-9]@a\.b|b[0-9]@a\.b$": "alternatives stand in parentheses",
    r"^(a+)+@a\.b$": "a group holds literal alternatives only",
    r"^(?i)ci[0-9]@a\.b$": "a group holds literal alternatives only",
    r"^\d+@a\.b$": r"write \[0-9\] for",
    r"^[\w]+@a\.b$": "a class holds",
    r"^[a-z&&x]+@a\.b$": "a class holds",
    r"^[[:alpha:]]+@a\.b$": "a class holds",
    "^[\u0430]+@a\\.b$": "a class holds",
    "^\u0430[a-z]+@a\\.b$": "not one of the accepted forms",
    r"^[z-a]+@a\.b$": "goes backwards",
    r"^[a-z]+?@a\.b$": "not one of the accepted forms",
    r"^[a-z]{500}@a\.b$": "not one of the accepted forms",
    r"^[a-z]+@[a-z]+\.org$": "literally whom it trusts",
    r"^[a-z]+@(a|b)\.org$": "literally whom it trusts",
    r"^[a-z]+@example\.org?$": "literally whom it trusts",
    r"^[^/]+$": "literally whom it trusts",
    r"^https?://github\.com/acme/[a-z]+$": "literally whom it trusts",
    r"^https://[^/]+/acme/x$": "literally whom it trusts",
    r"^https://github\.com[^/]+/acme/x$": "literally whom it trusts",
    r"^https://github\.com/[^/]+/policy$": "literally whom it trusts",
    r"^https://github\.com/acme[^/]+/policy$": "literally whom it trusts",
    r"^spiffe://example\.org[^/]*/x$": "literally whom it trusts",
    r"^x[0-9]*https://github\.com/acme/x$": "literally whom it trusts",
    r"^ci@example\.org$": "write it as identity",
    "^" + "a" * 3000 + "[a-z]@a\\.b$": "may have 2048 characters",
}


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_could_match_more_than_was_meant(pattern):
    with pytest.raises(ValueError, match=REFUSED[pattern]) as error:
        check_pattern(pattern)
    assert "\n" not in str(error.value)


def test_no_name_makes_it_slow():
    """Nested choices that would cost a backtracking engine hours."""
    pattern = check_pattern("^" + "[a-z]*" * 40 + r"x@example\.org$")
    with soon():
        assert not matches(pattern, "a" * 2000 + "@example.org")
        assert matches(pattern, "a" * 2000 + "x@example.org")


ATOMS = ["a", "b", r"\.", ".", "[a-c]", "[^/]", "[b-a]", "(a|b)", "-", "@", "/", "\u0430"]
SIGNS = ["^", "$", "(", ")", "[", "]", "|", "+", "*", "?", "{2}", "{1,3}", "{", "\\", "\\d", "\n"]
WHOLES = [r"@a\.b", "https://", r"https://a\.b/c/", r"spiffe://a\.b/"]
pieces = st.sampled_from([*ATOMS, *SIGNS, *WHOLES])


@given(st.lists(pieces, max_size=12).map("".join), st.text("ab.@/cx", max_size=12))
@settings(max_examples=1500, deadline=None)
def test_what_is_accepted_means_the_same_elsewhere(inner, name):
    """Any text is a pattern or refused in one line; a pattern is what Python's engine takes it for, with one @."""
    pattern = f"^{inner}@a\\.b$"
    refused = None
    try:
        check_pattern(pattern)
    except ValueError as error:
        refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        return
    for one in (f"{name}@a.b", name, f"{name}@a.bx", f"a{name}@a-b"):
        kind = one.count("@") == 1 and ("://" in one) == ("://" in inner)
        assert matches(pattern, one) == (kind and re.fullmatch(pattern, one) is not None)
