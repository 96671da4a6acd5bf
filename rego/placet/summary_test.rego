# Verification summaries as results, through the package that reads them.
package placet.summary_test

import data.placet.environment_test as results
import data.placet.warrant_fixtures_test as fixtures

header := {"alg": "EdDSA", "kid": "a1", "typ": "vsa+jwt"}

digest := "a67f0b1c9d3e52846f7a8b9c0d1e2f30415263748596a7b8c9d0e1f2a3b4c5d6"

image := concat(":", ["sha256", digest])

predicate := {
	"verifier": {"id": results.attester},
	"timeVerified": "2027-01-15T07:59:00Z", # a minute ago
	"resourceUri": "oci://registry.example/app",
	"policy": {"uri": "https://example.org/policy"},
	"verificationResult": "PASSED",
	"verifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_2"],
}

envelope := object.union(object.remove(results.claims, ["eat_profile", "submods"]), {"iat": fixtures.second - 10})

claims := object.union(envelope, {
	"_type": "https://in-toto.io/Statement/v1",
	"subject": [{"name": "app", "digest": {"sha256": digest}}],
	"predicateType": "https://slsa.dev/verification_summary/v1",
	"predicate": predicate,
})

signed(said) := fixtures.sign(header, said, fixtures.root_key)

with_predicate(changes) := signed(object.union(claims, {"predicate": object.union(predicate, changes)}))

required(accept) := {"image": {"max_age_seconds": 300, "accept": accept}}

judged(given, accept) := results.judged(state(given, accept), {})

# (Nothing is merged: `object.union` would keep what else is required.)
state(given, accept) := json.patch(results.state({"results": given}), [{
	"op": "replace",
	"path": "/trust/environment/required",
	"value": required(accept),
}])

failures(given) := judged([given], {}).failures

# (Members are replaced whole: `object.union` would merge objects.)
replaced(path, value) := signed(json.patch(claims, [{"op": "replace", "path": path, "value": value}]))

without(path) := signed(json.patch(claims, [{"op": "remove", "path": path}]))

test_a_summary_affirms_an_image if {
	failures(signed(claims)) == []
	failures(with_predicate({"verifiedLevels": []})) == []
	failures(replaced(["subject", 0, "digest"], {"sha512": "b", "sha256": digest})) == []
	es256 := fixtures.sign({"alg": "ES256", "kid": "a2", "typ": "vsa+jwt"}, claims, fixtures.partner_key)
	failures(es256) == []
}

test_its_claims_can_be_demanded if {
	every accept in [
		{"digest": [image]},
		{"verifier": ["another", results.attester]},
		{"resource": ["oci://registry.example/app"]},
		{"policy": ["https://example.org/policy"]},
		{"levels": ["SLSA_BUILD_LEVEL_3"]},
		{"levels": ["SLSA_BUILD_LEVEL_4", "SLSA_SOURCE_LEVEL_2"]},
	] {
		judged([signed(claims)], accept).failures == []
	}
	every accept in [
		{"digest": [digest]},
		{"digest": ["sha256:bb"]},
		{"verifier": ["https://another.example"]},
		{"resource": ["oci://registry.example/other"]},
		{"policy": ["https://example.org/other"]},
		{"levels": ["SLSA_BUILD_LEVEL_4"]},
		{"levels": []},
		{"levels": ["SLSA_BUILD_LEVEL"]},
		{"digest": [image], "levels": ["SLSA_BUILD_LEVEL_4"]},
		{"name": ["app"]},
	] {
		judged([signed(claims)], accept).failures == ["environment.rejected"]
	}
}

with_levels(levels) := fixtures.sign(
	results.header,
	object.union(results.claims, {"submods": {"image": {"levels": levels}}}),
	fixtures.root_key,
)

test_only_a_list_has_several_levels if {
	every levels in ["one", ["one"], ["other", "one"]] {
		judged([with_levels(levels)], {"levels": ["one"]}).failures == []
	}
	every levels in ["onetwo", {"a": "one"}, [["one"]], [], null, 7, {"one": true}] {
		judged([with_levels(levels)], {"levels": ["one"]}).failures == ["environment.rejected"]
	}
}

test_failed_is_rejected if {
	every changes in [
		{"verificationResult": "FAILED"},
		{"verificationResult": "passed"},
		{"verificationResult": "PASSED "},
		{"verificationResult": null},
		{"verificationResult": true},
		{"verificationResult": ["PASSED"]},
		{"verifiedLevels": ["FAILED"]},
		{"verifiedLevels": ["SLSA_BUILD_LEVEL_3", "FAILED"]},
	] {
		failures(with_predicate(changes)) == ["environment.rejected"]
	}
	failures(without("/predicate/verificationResult")) == ["environment.rejected"]
}

test_a_statement_of_another_form_is_no_summary if {
	every token in [
		signed(envelope),
		replaced("/_type", "https://in-toto.io/Statement/v0.1"),
		replaced("/_type", null),
		replaced("/predicateType", "https://slsa.dev/provenance/v1"),
		replaced("/predicateType", "https://slsa.dev/verification_summary/v0.2"),
		replaced("/predicateType", ["https://slsa.dev/verification_summary/v1"]),
		replaced("/subject", []),
		replaced("/subject", null),
		replaced("/subject", "a"),
		replaced("/subject", {"0": claims.subject[0]}),
		replaced("/subject", [claims.subject[0], claims.subject[0]]),
		replaced("/subject", [claims.subject[0], {"digest": {"sha256": digest}}]),
		replaced("/subject", [null]),
		replaced("/subject/0/digest", {"sha512": digest}),
		replaced("/subject/0/digest", {"SHA256": digest}),
		replaced("/subject/0/digest", digest),
		replaced("/subject/0/digest/sha256", upper(digest)),
		replaced("/subject/0/digest/sha256", image),
		replaced("/subject/0/digest/sha256", concat("", [digest, "\n"])),
		replaced("/subject/0/digest/sha256", concat("", ["0", digest])),
		replaced("/subject/0/digest/sha256", concat("", ["x", digest])),
		replaced("/subject/0/digest/sha256", ""),
		replaced("/subject/0/digest/sha256", 7),
		replaced("/predicate", null),
		replaced("/predicate", [predicate]),
		replaced("/predicate/verifier", results.attester),
		replaced("/predicate/verifier/id", "https://another.example"),
		replaced("/predicate/verifier/id", null),
		replaced("/predicate/resourceUri", null),
		replaced("/predicate/resourceUri", ["a"]),
		replaced("/predicate/policy", "https://example.org/policy"),
		replaced("/predicate/policy", {"digest": {"sha256": digest}}),
		replaced("/predicate/policy/uri", 7),
		replaced("/predicate/verifiedLevels", "SLSA_BUILD_LEVEL_3"),
		replaced("/predicate/verifiedLevels", {"SLSA_BUILD_LEVEL_3": true}),
		replaced("/predicate/verifiedLevels", null),
		replaced("/predicate/timeVerified", fixtures.second),
		replaced("/predicate/timeVerified", ""),
		replaced("/predicate/timeVerified", "2027-01-15"),
		replaced("/predicate/timeVerified", "2027-01-15T07:59:00"),
		replaced("/predicate/timeVerified", "9999-12-31T23:59:59Z"),
		replaced("/predicate/timeVerified", null),
	] {
		failures(token) == ["environment.invalid"]
	}
	every path in [
		"/_type", "/predicateType", "/subject", "/predicate", "/predicate/verifier", "/predicate/resourceUri",
		"/predicate/policy", "/predicate/verifiedLevels", "/predicate/timeVerified", "/subject/0/digest",
		"/iss", "/sub", "/aud", "/iat", "/exp", "/jti",
	] {
		failures(without(path)) == ["environment.invalid"]
	}
}

test_it_is_as_old_as_the_verification if {
	judged([signed(claims)], {}).expires_at == fixtures.second + 240
	judged([replaced("/predicate/timeVerified", "2027-01-15T08:59:00.9+01:00")], {}).expires_at == fixtures.second + 240
	judged([replaced("/predicate/timeVerified", "2027-01-15T08:00:00Z")], {}).expires_at == fixtures.second + 290
	failures(replaced("/predicate/timeVerified", "2027-01-15T07:55:01Z")) == []
	failures(replaced("/predicate/timeVerified", "2027-01-15T07:55:00Z")) == ["environment.stale"]
	failures(replaced("/predicate/timeVerified", "1960-01-15T07:55:00Z")) == ["environment.stale"]
	failures(replaced("/iat", fixtures.second - 300)) == ["environment.stale"]
	failures(replaced("/exp", fixtures.second)) == ["environment.stale"]
	failures(replaced("/predicate/timeVerified", "2027-01-15T08:00:02Z")) == []
	failures(replaced("/predicate/timeVerified", "2027-01-15T08:00:03Z")) == ["environment.invalid"]
	failures(replaced("/iat", fixtures.second + 3)) == ["environment.invalid"]
}

typed(typ, said) := fixtures.sign(object.union(header, {"typ": typ}), said, fixtures.root_key)

test_no_type_passes_for_the_other if {
	both := object.union(claims, object.filter(results.claims, ["eat_profile", "submods"]))
	failures(typed("ear+jwt", claims)) == ["environment.invalid"]
	failures(typed("vsa+jwt", results.claims)) == ["environment.invalid"]
	every typ in ["VSA+JWT", "application/vsa+jwt", "JWT", "", null, ["vsa+jwt"], "warrant+jwt", "eat+jwt"] {
		failures(typed(typ, both)) == ["environment.invalid"]
	}

	# Of a token that has both, the other half is not read.
	failed := object.union(both, {"predicate": object.union(predicate, {"verificationResult": "FAILED"})})
	failures(typed("vsa+jwt", failed)) == ["environment.rejected"]
	judged([typed("vsa+jwt", failed)], {"region": ["eu-1"]}).failures == ["environment.rejected"]
	judged([typed("ear+jwt", both)], {"digest": [image]}).failures == ["environment.rejected"]
	judged([typed("ear+jwt", failed)], {"digest": ["sha256:aa"]}).failures == []
	region := {"region": {"max_age_seconds": 300, "accept": {}}}
	elsewhere := json.patch(state([typed("vsa+jwt", both)], {}), [{
		"op": "replace",
		"path": "/trust/environment/required",
		"value": region,
	}])
	results.failures(elsewhere, {}) == ["environment.missing"]
}

test_who_signs_and_about_whom_is_looked_at_as_for_any_result if {
	every token in [
		fixtures.sign(header, claims, fixtures.agent_key),
		fixtures.sign(object.union(header, {"kid": "a9"}), claims, fixtures.root_key),
		fixtures.sign(object.union(header, {"cty": "json"}), claims, fixtures.root_key),
		replaced("/aud", "spiffe://example.org/system/other"),
		replaced("/sub", "spiffe://example.org/sidecar/payments/other"),
		replaced("/iss", "https://nobody.example"),
		replaced("/jti", "gone"),
	] {
		revoked := json.patch(state([token], {}), [{
			"op": "replace",
			"path": "/trust/environment/revoked",
			"value": {"gone": {"expires_at": 1}},
		}])
		results.failures(revoked, {}) == ["environment.invalid"]
	}
	about_alice := signed(object.union(claims, results.about_alice))
	results.failures(state([], {}), {"environment": [about_alice]}) == []
	results.failures(state([], {}), {"environment": [signed(claims)]}) == ["environment.invalid"]
	results.failures(state([about_alice], {}), {}) == ["environment.invalid"]
}
