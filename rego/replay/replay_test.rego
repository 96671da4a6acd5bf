package placet_replay_test

import data.placet_replay

claims := {"aud": "payments", "exp": 100, "nbf": 10, "sub": "api"}

header := {"alg": "EdDSA"}

signed(said, sha) := concat(".", [
	base64url.encode_no_pad(json.marshal(header)),
	base64url.encode_no_pad(json.marshal(said)),
	sha,
])

sha := crypto.sha256("the token as it was sent")

token := signed(claims, sha)

constraints := {"alg": "EdDSA", "aud": "payments", "time": 50000000000}

verified(calls, one, demanded) := result if {
	result := placet_replay.verify(one, demanded) with data.placet_record as {"calls": calls, "said": {}}
}

test_the_outcome_comes_from_the_record if {
	verified({sha: true}, token, constraints) == [true, header, claims]
	verified({sha: false}, token, constraints) == [false, {}, {}]
}

test_a_token_that_was_verified_more_than_once if {
	filed := concat(":", [sha, crypto.sha256(json.marshal(constraints))])
	verified({filed: true}, token, constraints) == [true, header, claims]
}

test_a_whole_token_of_the_trust_state if {
	whole := signed(claims, "c2lnbmF0dXJl")
	name := crypto.sha256(whole)
	verified({name: true}, whole, constraints) == [true, header, claims]
	filed := concat(":", [name, crypto.sha256(json.marshal(constraints))])
	verified({filed: false}, whole, constraints) == [false, {}, {}]
}

test_an_outcome_that_the_token_contradicts_is_none if {
	every change in [{"time": 101000000000}, {"time": 9000000000}, {"aud": "other"}, {"alg": "ES256"}] {
		verified({sha: true}, token, object.union(constraints, change)) == [false, {}, {}]
	}
	verified({sha: true}, signed(object.remove(claims, ["aud"]), sha), constraints) == [false, {}, {}]
}

test_what_a_token_need_not_say if {
	bare := {"iat": 1}
	verified({sha: true}, signed(bare, sha), {"alg": "EdDSA", "time": 1}) == [true, header, bare]
	several := object.union(claims, {"aud": ["x", "payments"]})
	verified({sha: true}, signed(several, sha), constraints) == [true, header, several]
}

test_what_the_builtin_cannot_read_has_no_outcome if {
	every said in [object.union(claims, {"exp": "soon"}), object.union(claims, {"nbf": null}), "text"] {
		not verified({}, signed(said, sha), constraints)
	}
}

batch := {
	"batch": [{"input": {"a": 1}, "now": 7, "lease": {"x": 1}, "state": "sha256:1", "calls": {sha: true}}],
	"states": {"sha256:1": {"domain": "example.org"}},
	"said": {},
}

test_each_record_has_its_result if {
	results := [
		placet_replay.decision,
		placet_replay.start,
		placet_replay.stateless,
		placet_replay.unclocked,
	] with input as batch
		with data.placet.decision as {"allow": false}
		with data.placet.start as {"allow": false}
	every result in results {
		result == [[0, `{"allow":false}`]]
	}
}
