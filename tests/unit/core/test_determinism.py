"""The static check: every kind of finding, each in the forms in which somebody might write it."""

import time

import pytest

from app.core import determinism
from app.core.bundle import parse_bundle
from app.core.compose import Library
from app.core.errors import Denied
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS, WHY
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.verification import check_policy

from .tars import bundle


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def found_in(opa, source):
    [module] = opa.inspect({"dir/app.rego": source.encode()})
    return list(determinism.findings(module.syntax))


def body(expression):
    return f"package app\n\nallow if {{\n\t{expression}\n}}\n"


@pytest.fixture(scope="module")
def fixed(opa):
    """What is refused, in one process of OPA for all of them: the texts by expression."""
    sources = {f"{n}.rego": body(expression).encode() for n, expression in enumerate([*ACCEPTED, *REFUSED])}
    modules = {module.file: module for module in opa.inspect(sources)}
    return {
        expression: [finding.what for finding in determinism.findings(modules[f"{n}.rego"].syntax)]
        for n, expression in enumerate([*ACCEPTED, *REFUSED])
    }


ACCEPTED = [
    'io.jwt.decode_verify(input.t, {"cert": "k", "time": time.now_ns()})[0]',
    '[true, _, x] = io.jwt.decode_verify(input.t, {"cert": "k", "aud": "a", "time": 1})',
    'c := {"cert": "k", "time": time.now_ns()}; io.jwt.decode_verify(input.t, c)[0]',
    'c := {"cert": "k", "time": 1}; x := [v | v := io.jwt.decode_verify(input.t, c)]; x != []',
    'c := {"cert": "k", "time": 1}; d := c; io.jwt.decode_verify(input.t, d)[0]',
    'crypto.x509.parse_and_verify_certificates_with_options(input.c, {"CurrentTime": time.now_ns()})[0]',
    "time.clock(time.now_ns())[0] > 8",
    'time.clock([input.at, "UTC"])[0] > 8',
    'time.clock([input.at, ""])[0] > 8',
    'zone := "UTC"; time.date([input.at, zone])[0] > 8',
    'now := time.now_ns(); time.weekday(now) == "Monday"',
    'time.weekday(data.placet.clock.now) == "Monday"',
    'time.weekday(1700000000000000000) == "Monday"',
    'time.weekday(time.parse_rfc3339_ns(input.at)) == "Monday"',
    'time.format(min([input.at, floor(input.exp) * 1000])) != ""',
    'time.format([input.at, "UTC", input.layout]) != ""',
    'time.diff(time.now_ns(), [input.at, "UTC"])[0] == 0',
    "time.add_date(time.now_ns() - 5, 0, input.months, 0) > 1",
    'time.parse_ns("RFC3339", input.at) > 1',
    'time.parse_ns("2006-01-02T15:04:05Z07:00", input.at) > 1',
    'time.parse_ns("2006-01-02 15:04 -0700", input.at) > 1',
    "time.parse_duration_ns(input.d) < 1",
    'sprintf("%v of %d %% %5.2f", [input.x, input.y, input.z]) != ""',
    'sprintf("100%%p", []) != ""',
    'text := "%v"; sprintf(text, [input.x]) != ""',
    'strings.render_template("{{.x}} {{range .y}}{{.}}{{end}}", input) != ""',
    "bits.lsh(input.x, 8) > 1",
    'json.patch(input.x, [{"op": "remove", "path": "/a"}, {"op": "add", "path": input.p, "value": 1}]) != {}',
    "json.patch(input.x, []) != {}",
    'json.patch(input.x, [{"op": "replace", "path": p, "value": 1} | some p in input.paths]) != {}',
    "glob.match(input.x, [], input.y)",
    'glob.match(input.x, [".", "/"], input.y)',
    'by := [":"]; glob.match(input.x, by, input.y)',
    "glob.match(input.x, null, input.y)",
    "regex.match(input.x, input.y)",
    'data.app.other with input as {"x": 1} with data.app.limits as {}',
    'every x in input.xs { x.zone != "MST" }',
    '"print" in input.xs',
    'input.time.clock == "Local"',
    '$"at {input.x}" != ""',
    'count(["io.jwt.decode", "http.send"]) == 2',
]

TOKEN = "io.jwt.decode_verify: "
ZONE = "this could bring a time zone along"
LAYOUT = "the meaning of a zone's abbreviation"

#: What is refused, and a part of what is said about it.
REFUSED = {
    # a clock of its own
    'io.jwt.decode_verify(input.t, {"cert": "k"})[0]': 'without "time"',
    'io.jwt.decode_verify(input.t, {"cert": "k", "time": 1, "iss": "x"})[0]': 'with "iss" a token can stop OPA',
    "io.jwt.decode_verify(input.t, input.c)[0]": "write the constraints out",
    "io.jwt.decode_verify(input.t, data.app.constraints)[0]": "write the constraints out",
    "some c in input.cs; io.jwt.decode_verify(input.t, c)[0]": "write the constraints out",
    'io.jwt.decode_verify(input.t, object.union(input.c, {"time": 1}))[0]': "write the constraints out",
    'x := "iss"; io.jwt.decode_verify(input.t, {x: 1, "time": 1})[0]': "write the constraints out",
    'c = {"cert": "k", "time": 1}; io.jwt.decode_verify(input.t, c)[0]': "write the constraints out",
    'c := {"cert": "k"}; io.jwt.decode_verify(input.t, c)[0]': 'without "time"',
    'c := input.c; x := [1 | c := {"time": 1}]; io.jwt.decode_verify(input.t, c)[0]': "write the constraints out",
    'c := {"time": 1}; every c in input.cs { io.jwt.decode_verify(input.t, c)[0] }': "write the constraints out",
    'c := {"time": 1}; x := [v | some c in input.cs; v := io.jwt.decode_verify(input.t, c)]; x != []': "write the",
    'c := input.c; every v in io.jwt.decode_verify(input.t, c) { c := {"time": 1}; v == c }': "write the constraints",
    'crypto.x509.parse_and_verify_certificates_with_options(input.c, {"DNSName": "x"})[0]': 'without "CurrentTime"',
    "crypto.x509.parse_and_verify_certificates_with_options(input.c, input.options)[0]": 'without "CurrentTime"',
    # what OPA remembers of other requests
    'io.jwt.decode_verify(input.t, {"cert": "k", "alg": "EdDSA", "time": 1})[0]': '"alg" is not looked at for',
    'c := {"cert": "k", "alg": input.alg, "time": 1}; io.jwt.decode_verify(input.t, c)[0]': '"alg" is not looked at',
    'glob.match(input.x, ["-"], input.y)': 'with the delimiter "-" OPA takes one pattern',
    'by := [".", "-"]; glob.match(input.x, by, input.y)': 'with the delimiter "-" OPA takes one pattern',
    "glob.match(input.x, input.by, input.y)": "write the delimiters out",
    "glob.match(input.x, [input.by], input.y)": "write the delimiters out",
    'glob.match(input.x, {"-"}, input.y)': "write the delimiters out",
    # a time zone
    'time.clock([time.now_ns(), "Local"])[0] > 8': ZONE,
    'time.clock([time.now_ns(), "Europe/Berlin"])[0] > 8': ZONE,
    "time.clock(input.at)[0] > 8": ZONE,
    "time.clock(max([input.at, 1]))[0] > 8": ZONE,
    "time.clock(min([input.at, input.exp]))[0] > 8": ZONE,
    "time.clock([time.now_ns(), input.zone])[0] > 8": ZONE,
    'zone := "Local"; time.date([input.at, zone])[0] > 8': ZONE,
    'zone := "Local"; at := [1, zone]; x := [y | zone := "UTC"; y := time.date(at)]; x != zone': ZONE,
    'clock := {"now": [1, "Local"]}; time.date(clock.now)[0] > 8': ZONE,
    'time.weekday([1, "Local"]) == "Monday"': ZONE,
    'time.format([1, "Local", "2006"]) != ""': ZONE,
    'time.diff(1, [2, "Local"])[0] == 0': ZONE,
    'time.diff([2, "Local"], 1)[0] == 0': ZONE,
    "time.add_date(input.at, 0, 1, 0) > 1": ZONE,
    'time.parse_ns("2006-01-02 MST", input.at) > 1': LAYOUT,
    'time.parse_ns("RFC1123", input.at) > 1': LAYOUT,
    'time.parse_ns("UnixDate", input.at) > 1': LAYOUT,
    "time.parse_ns(input.layout, input.at) > 1": "write the layout out",
    'time["clock"](input.at)[0] > 8': ZONE,
    # an address in memory
    'sprintf("%p", [input.n]) != ""': "%p gives an address",
    'sprintf("%-10[1]p", [input.n]) != ""': "%p gives an address",
    'sprintf(input.format, [input.n]) != ""': "write the format out",
    'strings.render_template("{{printf \\"%p\\" .}}", input) != ""': "without printf",
    'strings.render_template(input.t, {}) != ""': "without printf",
    # what a caller's value can make panic
    "bits.lsh(1, input.n) > 1": "a large one stops OPA",
    "bits.lsh(1, 1e30) > 1": "a large one stops OPA",
    "json.patch(input.x, input.patches) != {}": 'to remove the path "" stops OPA',
    'json.patch(input.x, [{"op": input.op, "path": "/a"}]) != {}': 'to remove the path "" stops OPA',
    'json.patch(input.x, [{"op": "remove", "path": input.path}]) != {}': 'to remove the path "" stops OPA',
    'json.patch(input.x, [{"op": "remove", "path": ""}]) != {}': 'to remove the path "" stops OPA',
    'json.patch(input.x, [{"op": "remove", "path": p} | some p in input.a]) != {}': 'to remove the path "" stops OPA',
    'json.patch(input.x, [{"op": op, "path": p} | op := "remove"; some p in input.paths]) != {}': "with a constant op",
    'json.patch(input.x, [{"op": "replace", name: "remove"} | some name in input.n]) != {}': "with a constant op",
    "json.patch(input.x, [one | some one in input.patches]) != {}": "with a constant op",
    'json.patch(input.x, [{"op": "remove", "path": []}]) != {}': 'to remove the path "" stops OPA',
    # other builtins by way of `with`
    "data.app.other with time.now_ns as 5": "with time.now_ns: only input and data",
    "data.app.other with count as data.app.f": "with count: only input and data",
    "data.app.other with data.app.f as time.clock": "with … as time.clock",
    "data.app.other with data.app.f as io.jwt.decode_verify": "with … as io.jwt.decode_verify",
    "data.app.other with data.app.f as opa.runtime": "with … as opa.runtime",
    "data.app.other with data.app.f as internal.print": "with … as internal.print",
    # the one clock reading under another value
    'time.clock(data.placet.clock.now)[0] > 8 with data.placet.clock.now as [1, "Local"]': "the time of the",
    'data.app.other with data.placet.clock as {"now": [1, "Local"]}': "the time of the decision may not be replaced",
    "data.app.other with data as input.x": "the time of the decision may not be replaced",
    # OPA's output
    "print(input.x)": "print writes between",
    "not print(input.x)": "print writes between",
    "internal.print([{1}])": "print writes between",
    # in every place of the syntax
    '$"{time.clock(input.at)}" != ""': ZONE,
    "not time.clock(input.at)": ZONE,
    "count({x | x := time.clock(input.at)}) == 1": ZONE,
    "count({x: 1 | x := time.clock(input.at)}) == 1": ZONE,
    "[{1: {time.clock(input.at)}}] != []": ZONE,
    "input.a[time.clock(input.at)[0]]": ZONE,
    "data.app.other with input as time.clock(input.at)": ZONE,
}


@pytest.mark.parametrize("expression", ACCEPTED)
def test_what_depends_on_nothing_else_is_accepted(fixed, expression):
    assert fixed[expression] == []


@pytest.mark.parametrize("expression", REFUSED)
def test_what_could_depend_on_something_else_is_refused(fixed, expression):
    assert len(fixed[expression]) == 1
    assert REFUSED[expression] in fixed[expression][0]


@pytest.mark.parametrize("expression", [one for one in ACCEPTED if "internal" not in one])
def test_what_is_accepted_compiles(opa, expression):
    source = body(expression) + "other := 1\nlimits := {}\nf(_) := 1\n"
    opa.check({"a.rego": source.encode(), "b.rego": b"package placet.clock\n\nnow := time.now_ns()\n"})


@pytest.mark.parametrize("name", sorted(FORBIDDEN_BUILTINS))
def test_a_forbidden_builtin(opa, name):
    assert [one.what for one in found_in(opa, body(f"x := {name}(input.x)"))] == [f"{name} is not allowed: {WHY[name]}"]
    [found] = found_in(opa, body(f"data.app.x with data.app.f as {name}"))
    assert found.what.startswith(f"with … as {name}")
    [found] = found_in(opa, body(f"data.app.x with {name} as 1"))
    assert found.what == f"with {name}: only input and data may be replaced"


@pytest.mark.parametrize(
    "rule",
    [
        "default x := [y | y := time.clock(input.at)]",
        "x := time.clock(input.at)",
        "x contains time.clock(input.at)",
        "x[time.clock(input.at)] := 1",
        "f(_) := time.clock(input.at)",
        "f(at) := time.clock(at)",
        "x := 1 if false else := time.clock(input.at)",
        "x := 1 if { false } else := 2 if { time.clock(input.at) }",
        # the variables of one body are not those of the other
        "x := 1 if { at := 5; false } else := time.clock(at)",
        "f(at) := 1 if { true } else := time.clock(at)",
        # what is declared later is another variable of that name
        "x := y if { y := [z | at = input.at; z := time.clock(at)]; at := 5; at == 5 }",
        "x := at if { at := [[z | at = input.at; z := time.clock(at)][0], 5] }",
        "x if { not q([z | at = input.at; z := time.clock(at)]); at := 5; at == 5 }\n\nq(y) if y == []",
    ],
)
def test_every_part_of_a_rule_is_read(opa, rule):
    found = found_in(opa, f"package app\n\n{rule}\n")
    assert found
    assert all(ZONE in one.what for one in found)


@pytest.mark.parametrize(
    ("imports", "read"),
    [
        (["data.placet_state as x", 'data["foo.x"]'], "x.trust"),
        (['data["foo.x"]', "data.system as x"], "x.version"),
        (['data["system"] as x'], "x.version"),
    ],
)
def test_no_import_hides_what_another_one_reads(opa, imports, read):
    source = "".join(f"import {one}\n" for one in imports)
    assert found_in(opa, f"package app\n\n{source}\nx2 := {read}\n")


def test_an_import_may_be_used_but_hides_nothing(opa):
    source = "package app\n\nimport data.placet.clock\nimport data.lists as now\n\n"
    assert found_in(opa, source + "x := time.date(clock.now)\n") == []
    assert found_in(opa, source + "x if data.app.y with now.z as 1\n") == []
    assert len(found_in(opa, source + "x := time.date(now.clock)\n")) == 1
    assert len(found_in(opa, "package app\n\nimport data.x as time\n\nx := time.clock(input.at)\n")) == 1


@pytest.mark.parametrize("call", ["floor(input.at)", "min([1, 2])", "time.parse_rfc3339_ns(input.at)"])
def test_a_function_may_hide_a_builtin_and_nothing_is_known_about_it_then(opa, call):
    name = call.split("(", 1)[0]
    caller = f"package app\n\nx := time.clock({call})\n"
    there = f'{name}(at) := [at, "Local"]\n'
    assert found_in(opa, caller) == []
    assert len(found_in(opa, f"{caller}\n{there}")) == 1
    first = name.split(".", 1)[0]
    assert len(found_in(opa, caller.replace("app\n", f"app\n\nimport data.other.{first}\n", 1))) == 1
    files = {"a.rego": caller.encode(), "b.rego": f"package app\n\n{there}".encode()}
    assert [one.file for one in determinism.all_findings(opa.inspect(files), files, opa)] == ["a.rego"]


def test_a_hidden_builtin_does_bring_the_zone_of_the_machine_along(opa):
    source = b'package app\n\nallow if time.clock(floor(1)) == [0, 0, 0]\n\nfloor(at) := [at, "Local"]\n'
    assert denied(opa, {"app.rego": source}).reason == Reason.REGO_NONDETERMINISTIC


def denied(opa, files):
    with pytest.raises(Denied) as refused:
        check_policy(parse_bundle(bundle(files)), opa)
    return refused.value


def test_the_denial_names_file_and_line(opa):
    source = b'package app\n\n# A comment.\n\nallow if {\n\tinput.x\n\tsprintf("%p", [input.x])\n}\n'
    refused = denied(opa, {"lib/more.rego": source})
    assert refused.reason == Reason.REGO_NONDETERMINISTIC
    assert refused.detail.startswith("lib/more.rego:7: sprintf: %p gives an address in memory; docs/determinism.md")
    assert (refused.step, refused.field, refused.exit_code) == ("rego", "lib/more.rego", 3)


def test_a_template_that_gives_an_address_really_does(opa):
    """Why it is refused: two processes, two answers. (A number beyond 64 bits has an address, too.)"""
    query = 'sprintf("%p", [12345678901234567890123])'
    answers = {opa.run(["eval", "--format", "raw", query]).stdout for _ in range(8)}
    assert len(answers) > 1
    query = 'strings.render_template("{{printf \\"%p\\" .}}", {"a": 1})'
    assert len({opa.run(["eval", "--format", "raw", query]).stdout for _ in range(8)}) > 1


@pytest.mark.parametrize("call", ['json.patch({"a": 1}, [{"op": "remove", "path": ""}])', "bits.lsh(1, 1e30)"])
def test_what_stops_opa_really_does(opa, call):
    assert b"panic: " in opa.run(["eval", call], accept_failure=True).stderr


def test_a_policys_own_tests_may_do_more(opa, tmp_path):
    from app.core.bundle import build_bundle, read_directory

    (tmp_path / "app.rego").write_bytes(b"package app\n\ndefault allow := false\n")
    (tmp_path / "app_test.rego").write_bytes(b"package app_test\n\ntest_x if data.app.allow with time.now_ns as 5\n")
    (tmp_path / ".manifest").write_text('{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/allow"}}}')
    check_policy(parse_bundle(build_bundle(read_directory(tmp_path))), opa, strict=True)


@pytest.mark.parametrize("depth", [490, 3000, 200_000])
def test_nesting_that_cannot_be_followed_is_refused(opa, depth):
    deep = "[" * depth + "]" * depth
    refused = denied(opa, {"deep.rego": f"package app\n\nx := {deep}\n".encode()})
    assert refused.reason in (Reason.REGO_NONDETERMINISTIC, Reason.REGO_COMPILE)


def test_the_governance_library_passes(opa):
    library = Library.shipped()
    determinism.check_library(library, opa)
    assert "clock.rego" in library.modules


def test_a_governance_library_that_does_not_pass(opa):
    library = Library.shipped()
    source = library.modules["clock.rego"] + b'\nhour := time.clock([now, "Local"])[0]\n'
    with pytest.raises(Denied) as refused:
        determinism.check_library(Library(library.digest, {**library.modules, "clock.rego": source}), opa)
    assert refused.value.reason == Reason.REGO_NONDETERMINISTIC
    assert refused.value.field == "clock.rego"


def test_ten_thousand_rules_are_checked_in_seconds(opa):
    rules = "".join(f'allow if {{ input.user == "u{n}"; input.action == "a{n % 7}" }}\n' for n in range(10_000))
    modules = opa.inspect({"big.rego": f"package app\n\n{rules}".encode()})
    began = time.process_time()
    determinism.check(modules, {}, opa)
    assert time.process_time() - began < 60
