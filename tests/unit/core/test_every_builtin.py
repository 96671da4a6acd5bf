"""Every builtin of the pinned OPA was looked at: why a policy may call it, in which forms, or why not.

A new one is to be looked at, in OPA's source and by trying it, before it gets its line.
"""

import json

import pytest

from app.core.builtin_forms import JUDGES
from app.core.determinism import _WRITERS
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS, REPLAYED_BUILTINS, WHY
from app.core.opa import Opa

#: Why the answer of each is the same everywhere.
WHY_ALLOWED = {
    "it computes with its operands": """
        abs and bits.and bits.negate bits.or bits.rsh bits.xor ceil div floor format_int minus mul
        numbers.range numbers.range_step plus rem round to_number
        assign eq equal gt gte lt lte neq all any internal.member_2 internal.member_3
        is_array is_boolean is_null is_number is_object is_set is_string type_name
        cast_array cast_boolean cast_null cast_object cast_set cast_string
        array.concat array.flatten array.reverse array.slice
        concat contains endswith indexof indexof_n lower replace split startswith strings.count strings.replace_n
        strings.reverse strings.split_n substring trim trim_left trim_prefix trim_right trim_space trim_suffix upper
        base64.decode base64.encode base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad hex.decode
        hex.encode urlquery.decode urlquery.encode uri.is_valid uri.parse json.filter json.is_valid json.remove
        json.unmarshal semver.compare semver.is_valid units.parse units.parse_bytes uuid.parse
        net.cidr_contains net.cidr_intersects net.cidr_is_valid net.cidr_overlap
        crypto.hmac.equal crypto.hmac.md5 crypto.hmac.sha1 crypto.hmac.sha256 crypto.hmac.sha512 crypto.md5 crypto.sha1
        crypto.sha256 glob.quote_meta
    """,
    "it goes through sets and objects in the order of their values, also where it makes text of them": """
        count max min product sort sum intersection set_diff union or object.filter object.get object.keys object.remove
        object.subset object.union object.union_n graph.reachable graph.reachable_paths walk
        net.cidr_contains_matches net.cidr_expand net.cidr_merge
        json.marshal json.marshal_with_options yaml.marshal urlquery.decode_object urlquery.encode_object
        internal.template_string
    """,
    "it parses keys and certificates, and asks neither a clock nor the machine's roots": """
        crypto.parse_private_keys crypto.x509.parse_certificate_request crypto.x509.parse_certificates
        crypto.x509.parse_keypair crypto.x509.parse_rsa_private_key
    """,
    "OPA remembers what it compiled of a pattern, under the whole pattern": """
        re_match regex.find_all_string_submatch_n regex.find_n regex.globs_match regex.is_valid regex.match
        regex.replace regex.split regex.template_match
    """,
    "OPA remembers what it made of the prefixes, under all of them": """
        strings.any_prefix_match strings.any_suffix_match
    """,
    "OPA remembers what it parsed of a schema, under its SHA-256": """
        graphql.is_valid graphql.parse graphql.parse_and_verify graphql.parse_query graphql.parse_schema
        graphql.schema_is_valid
    """,
    "it parses Rego as this OPA does, and evaluates nothing": "rego.parse_module",
    "OPA's compiler puts the bundle's own annotations in its place": "rego.metadata.chain rego.metadata.rule",
    "it is true, and writes nothing where nobody traces": "trace",
    "it gives one time throughout a decision, which is recorded": "time.now_ns",
    "it reads what is written, whose offset is a number": "time.parse_duration_ns time.parse_rfc3339_ns",
    "in some forms alone": """
        bits.lsh crypto.x509.parse_and_verify_certificates_with_options glob.match io.jwt.decode_verify json.patch
        sprintf strings.render_template time.add_date time.clock time.date time.diff time.format time.parse_ns
        time.weekday
    """,
    "never: it writes to OPA's output": "internal.print internal.test_case print",
}


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def test_every_builtin_was_looked_at_once(opa):
    told = [name for names in WHY_ALLOWED.values() for name in names.split()]
    assert len(told) == len(set(told))
    assert opa.builtins - FORBIDDEN_BUILTINS == set(told)
    assert opa.builtins >= FORBIDDEN_BUILTINS
    assert set(WHY_ALLOWED["in some forms alone"].split()) == set(JUDGES)
    assert set(WHY_ALLOWED["never: it writes to OPA's output"].split()) == _WRITERS & opa.builtins


def test_what_opa_itself_calls_non_deterministic_is_refused_or_recorded(opa):
    said = {
        one["name"]
        for one in json.loads(opa.run(["capabilities", "--current"]).stdout)["builtins"]
        if one.get("nondeterministic")
    }
    assert said - FORBIDDEN_BUILTINS == REPLAYED_BUILTINS
    assert all(WHY.values())


def answers(opa, query, asked):
    """The different answers of so many processes."""
    return {opa.run(["eval", "--format", "raw", query]).stdout for _ in range(asked)}


def test_merged_keys_of_yaml_are_taken_by_chance(opa):
    """Why YAML is refused: keys that differ in YAML and not in JSON. (It is refused as a request, too.)"""
    query = (
        r'{r["1"] | some n in numbers.range(1, 300); r := yaml.unmarshal(sprintf("<<: {1: a}\n\"1\": b\n2: %v", [n]))}'
    )
    assert json.loads(opa.run(["eval", "--format", "raw", query]).stdout) == ["a", "b"]


def test_a_signed_request_takes_one_of_several_headers_by_chance(opa):
    headers = ", ".join(f'"{name}": "{n}"' for n, name in enumerate(["foo", "Foo", "fOo", "foO", "FOo", "fOO", "FOO"]))
    credentials = '{"aws_service": "s3", "aws_access_key": "a", "aws_secret_access_key": "b", "aws_region": "r"}'
    query = (
        f'{{s.headers.Authorization | some n in numbers.range(1, 100); s := providers.aws.sign_req({{"method": "get", '
        f'"url": "http://x/", "headers": {{{headers}, "n": sprintf("%v", [n % 2])}}}}, {credentials}, 1)}}'
    )
    assert len(json.loads(opa.run(["eval", "--format", "raw", query]).stdout)) > 2


@pytest.mark.parametrize("first", [0, 1])
def test_one_glob_is_taken_for_another(opa, first):
    """Why the delimiter "-" is refused: what OPA compiled is kept under the pattern, "-" and the delimiters."""
    calls = ['glob.match("a", ["-", "."], "a-")', 'glob.match("a-", ["."], "a-")']
    alone = [json.loads(opa.run(["eval", "--format", "raw", one]).stdout) for one in calls]
    assert alone == [False, True]
    both = f"[{calls[first]}, {calls[1 - first]}]"
    assert json.loads(opa.run(["eval", "--format", "raw", both]).stdout) == [alone[first]] * 2


def test_annotations_tell_nothing_of_where_the_bundle_lies(opa, tmp_path):
    rule = "# METADATA\n# title: t\nr := [rego.metadata.chain(), rego.metadata.rule()]\n"
    text = f"# METADATA\n# custom: {{x: 1}}\npackage app\n\n{rule}"
    given = []
    for name in ("a", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.rego").write_text(text)
        given.append(opa.run(["eval", "--format", "raw", "--data", str(tmp_path / name), "data.app.r"]).stdout)
    assert given[0] == given[1]
    assert json.loads(given[0])[1]["title"] == "t"


def test_sets_and_objects_are_text_in_the_order_of_their_values(opa):
    value = '{"b": {3, 1, 2}, "a": {"y": 1, "x": {"q", "p"}}}'
    texts = 'sprintf("%v", [x]), $"{x}", json.marshal(x), yaml.marshal(x), urlquery.encode_object({"b": {"2", "1"}})'
    (answer,) = answers(opa, f"[[{texts}] | x := {value}]", 6)
    ordered = '{"a": {"x": {"p", "q"}, "y": 1}, "b": {1, 2, 3}}'
    assert json.loads(answer)[0][:2] == [ordered, ordered]
