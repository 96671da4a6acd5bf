"""What of `data` a policy, and the governance library, may read: in each form in which somebody might write it."""

import pytest

from app.core import determinism
from app.core.bundle import parse_bundle
from app.core.compose import Library
from app.core.errors import Denied
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.verification import check_policy

from .tars import bundle

READ = [
    "data.app.roles[input.user]",
    'data["app"].roles[_] == input.user',
    "some name; data.app.roles[name]",
    "roles[input.user]",
    'data.placet.subject.id == "x"',
    'data["placet"]["subject"].claims[input.name]',
    'data.placet.subject == {"id": "x"}',
    "data.placet.warrant.granted[_]",
    "data.placet.clock.now > 1",
    # Nobody has it: it is undefined in every OPA that runs the release.
    "data.inventory.cluster[input.user]",
    'data.app.other with data.placet.subject as {"id": "x"}',
    'data.app.other with data.app.roles as {"x": input.system}',
    'input.data.system == "data.system"',
    "walk(data.app.roles, [path, value])",
]

WHOLE = "data as a whole, or a name in it that is not written out"

#: What is refused, and what is said about it.
REFUSED = {
    "data.system": "data.system is not the policy's; beside its own data it may read data.placet.subject, ",
    'data.system.bundles.app.etag != ""': "data.system.bundles.app.etag is not",
    'data["system"].version': "data.system.version is not",
    "data.system[input.x]": "data.system is not",
    "data.system.authz.allow": "data.system.authz.allow is not",
    "data.placet_state.trust.domain": "data.placet_state.trust.domain is not",
    "data.placet_log.mask": "data.placet_log.mask is not",
    "data.placet_glue.bundles": "data.placet_glue.bundles is not",
    "data.placet_replay": "data.placet_replay is not",
    "data.placet.decision.allow": "data.placet.decision.allow is not",
    "data.placet.identity.subject": "data.placet.identity.subject is not",
    "data.placet.subjects": "data.placet.subjects is not",
    "data.placet": "data.placet is not",
    "data.placet[input.x]": "data.placet is not",
    "data.placet.warrant": "data.placet.warrant is not",
    "data.placet.scope.covers(input.x)": "data.placet.scope.covers is not",
    # a name that is not written out
    "data[input.x]": WHOLE,
    "data[input.x].bundles": WHOLE,
    "some name; data[name]": WHOLE,
    'name := "system"; data[name].version': WHOLE,
    'data[lower("SYSTEM")]': WHOLE,
    "data[_].placet": WHOLE,
    "input[data[input.x]]": WHOLE,
    # all of it, as a value
    "data": WHOLE,
    "walk(data, [path, value])": WHOLE,
    'object.get(data, "system", 0)': WHOLE,
    'object.get(data, ["system", "version"], 0)': WHOLE,
    "every value in data { value }": WHOLE,
    "some name, value in data": WHOLE,
    "count([name | some name, _ in data])": WHOLE,
    "x := data; x.system": WHOLE,
    "data = x; x.system": WHOLE,
    "{data}[_].system": WHOLE,
    '{"x": data}.x.system': WHOLE,
    "f(data)": WHOLE,
    '$"{data}" != ""': WHOLE,
    'sprintf("%v", [data]) != ""': WHOLE,
    "json.marshal(data)": WHOLE,
    "data.app.other with input as data": WHOLE,
    # in other places of the syntax
    '$"{data.system.version}" != ""': "data.system.version is not",
    "not data.system.x": "data.system.x is not",
    "[1 | data.system.x] == []": "data.system.x is not",
    "{data.system.x: 1} != {}": "data.system.x is not",
    "data.app.roles[data.system.x]": "data.system.x is not",
    "data.app.other with input.x as data.system.x": "data.system.x is not",
    "data.app.other with data.placet_state as {}": "with data.placet_state: data.placet_state is not",
    "data.app.other with data.system.x as 1": "with data.system.x: data.system.x is not",
    "data.app.other with data.placet.identity as {}": "with data.placet.identity: data.placet.identity is not",
}


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def module(expression, imports=""):
    return f"package app\n\n{imports}\n\nallow if {{\n\t{expression}\n}}\n".encode()


@pytest.fixture(scope="module")
def fixed(opa):
    """What is found, in one process of OPA for all: the texts by expression."""
    expressions = [*READ, *REFUSED]
    read = {one.file: one for one in opa.inspect({f"{n}.rego": module(one) for n, one in enumerate(expressions)})}
    return {one: found_of(read[f"{n}.rego"], opa) for n, one in enumerate(expressions)}


def found_of(read, opa):
    """Without lines: nobody asks OPA again."""
    quick = determinism.all_findings([read], {read.file: b""}, opa)
    found = [one.what for one in determinism.findings(read.syntax)]
    assert bool(list(quick)) == bool(found)
    return found


@pytest.mark.parametrize("expression", READ)
def test_what_a_policy_may_read(fixed, expression):
    assert fixed[expression] == []


@pytest.mark.parametrize("expression", REFUSED)
def test_what_a_policy_may_not_read(fixed, expression):
    (one,) = fixed[expression]
    assert one.startswith(REFUSED[expression])


@pytest.mark.parametrize(
    ("imports", "expression"),
    [
        ("import data.system", "system.version"),
        ("import data.system as s", "s.version"),
        ("import data.system.version", "version"),
        ("import data.placet_state as s", "s.digest"),
        ("import data.placet as p", "p.decision"),
        ("import data.placet", "placet[input.x]"),
        ("import data.placet.identity", "identity.subject"),
        ("import data", "data.system"),
        ("import data as d", "d.system"),
        ("import data as d", "d[input.x]"),
        ("import data as d", "walk(d, [path, value])"),
        ("import data.system as s", "data.app.other with input as s"),
        ("import data.system as s", "data.app.other with s.x as 1"),
    ],
)
def test_an_import_hides_nothing(opa, imports, expression):
    [read] = opa.inspect({"a.rego": module(expression, imports)})
    assert len(found_of(read, opa)) == 1


@pytest.mark.parametrize(
    ("imports", "expression"),
    [
        ("import data.placet.subject", "subject.id"),
        ("import data.placet", "placet.subject.id"),
        ("import data.placet.warrant", "warrant.granted[_]"),
        ("import data.placet.clock as c", "c.now > 1"),
        ("import data.app as system", "system.roles"),
        ("import data.system", "input.x"),
        ("import input.data as d", "d.system"),
    ],
)
def test_an_import_may_be_of_what_is_read(opa, imports, expression):
    [read] = opa.inspect({"a.rego": module(expression, imports)})
    assert found_of(read, opa) == []


@pytest.mark.parametrize(
    "rule",
    [
        "default x := [y | y := data.system]",
        "x := data.system",
        "x contains data.system.y",
        "x[data.system.y] := 1",
        "f(_) := data.system.y",
        "x := 1 if false else := data.system.y",
        "x := 1 if { false } else := 2 if { data.system.y }",
    ],
)
def test_every_part_of_a_rule_is_read(opa, rule):
    [read] = opa.inspect({"a.rego": f"package app\n\n{rule}\n".encode()})
    assert {one.partition("; ")[0] for one in found_of(read, opa)} <= {
        "data.system is not the policy's",
        "data.system.y is not the policy's",
    }
    assert found_of(read, opa)


def test_a_release_that_reads_the_tag_of_its_bundle_is_refused_with_its_line(opa):
    source = b'package app\n\nimport data.system as s\n\nallow if {\n\tinput.x\n\ts.bundles.placet.etag != ""\n}\n'
    opa.check({"app.rego": source}, strict=True)  # the compiler lets it through
    refused = denied(opa, {"app.rego": source})
    assert refused.reason == Reason.REGO_NONDETERMINISTIC
    assert refused.detail.startswith("app.rego:7: data.system.bundles.placet.etag is not the policy's; beside its own")
    assert "docs/determinism.md" in refused.detail


def test_no_system_allows_it_by_name(opa):
    source = b"package app\n\nallow if data.system.version\n"
    with pytest.raises(Denied, match=r"data\.system\.version is not the policy's"):
        check_policy(parse_bundle(bundle({"app.rego": source})), opa, allowed=opa.builtins)


def denied(opa, files):
    with pytest.raises(Denied) as refused:
        check_policy(parse_bundle(bundle(files)), opa)
    return refused.value


def test_the_library_may_read_trust_state_and_nothing_of_opas_own(opa):
    library = Library.shipped()
    for read, fine in {"data.placet_state.digest": True, "data.system.version": False, "data[input.x]": False}.items():
        modules = {"names.rego": library.modules["names.rego"] + f"\nmore := {read}\n".encode()}
        found = list(determinism.all_findings(opa.inspect(modules), modules, opa, ours=True))
        assert bool(found) != fine, read


def test_a_library_that_reads_more_is_refused(opa):
    library = Library.shipped()
    changed = {**library.modules, "names.rego": library.modules["names.rego"] + b"\nmore := data.system.version\n"}
    with pytest.raises(Denied) as refused:
        determinism.check_library(Library(library.digest, changed), opa)
    assert (refused.value.reason, refused.value.field) == (Reason.REGO_NONDETERMINISTIC, "names.rego")
