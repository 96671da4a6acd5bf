# Whatever the short way lets pass, the long one does.
package placet.single_test

import data.placet.single
import data.placet.warrant_fixtures_test as fixtures
import data.placet.warrant_judge_test as judge

test_the_short_way_lets_no_other_member_pass if judge.of_root(fixtures.root_with({"other": 1})) == ["warrant.malformed"]

test_the_short_way_lets_no_other_iss_pass if judged_alike("iss")

test_the_short_way_lets_no_other_sub_pass if judged_alike("sub")

test_the_short_way_lets_no_other_sub_id_pass if judged_alike("sub_id")

test_the_short_way_lets_no_other_aud_pass if judged_alike("aud")

test_the_short_way_lets_no_other_iat_pass if judged_alike("iat")

test_the_short_way_lets_no_other_exp_pass if judged_alike("exp")

test_the_short_way_lets_no_other_jti_pass if judged_alike("jti")

test_the_short_way_lets_no_other_actions_pass if judged_alike("actions")

test_the_short_way_lets_no_other_resources_pass if judged_alike("resources")

test_the_short_way_lets_no_other_constraints_pass if {
	malformed := [value | some value in fixtures.junk; value != {}]
	every other in array.concat([{"amount": {}}, {"amount": []}, {"amount": {"at_most": null}}], malformed) {
		token := fixtures.root_with_member("constraints", other)
		not short([token], fixtures.alice)
	}
}

judged_alike(member) if {
	value := fixtures.root_claims[member]
	every other in array.concat([value, {"a": value}, [value], [value, value]], fixtures.junk) {
		token := fixtures.root_with_member(member, other)
		passes := {[] | short([token], fixtures.alice)}
		passes - {judge.long_failures_in(fixtures.state, fixtures.request_with([token]), fixtures.alice)} == set()
	}
}

test_the_short_way_is_for_those_at_home if {
	partner_subject := {"sub": "helper", "sub_id": {"iss": fixtures.partner, "sub": "helper"}}
	token := fixtures.root_with(partner_subject)
	helper := object.union(fixtures.tool, {"id": "helper"})
	judge.failures([token], helper) == []
	not short([token], helper)
	short([fixtures.root], fixtures.alice)
	not short([fixtures.root_with({"aud": [fixtures.audience]})], fixtures.alice)
}

short(chain, subject) := short_in(fixtures.state, chain, subject)

short_in(state, chain, subject) if {
	single.warrant with input as fixtures.request_with(chain)
		with data.placet_state as state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
}

# Signed by the key that the home domain's issuer has, too.
test_the_short_way_is_for_issuers_at_home if {
	token := fixtures.root_with({"iss": "spiffe://stranger.example/control-plane"})
	not short([token], fixtures.alice)
	judge.of_root(token) == ["warrant.issuer_unknown"]
}

test_the_short_way_is_for_warrants_alone if {
	every changes in [{"typ": "JWT"}, {"typ": "execution+jwt"}, {"kid": "w2"}, {"kid": "w9"}] {
		token := fixtures.sign(object.union(fixtures.root_header, changes), fixtures.root_claims, fixtures.root_key)
		not short([token], fixtures.alice)
		judge.of_root(token) != []
	}
}

# The key of an algorithm that no warrant is signed with, should it ever come into trust state.
test_the_short_way_knows_two_algorithms if {
	key := {
		"kty": "EC",
		"crv": "P-384",
		"x": "3x9xj88IfsCYzdoDq7zJDR8HenKEAAF7UKZtr4oJ1ZGFwTr8ikDhP_zblylpoyzG",
		"y": "WbcLIHQG_JEUZzBfZNImZz9vLBLWgSm1zuJcMrb3DvPqEguA4SAY-9EMHqD4l8Hu",
		"d": "DvMgRkPS5OapbLlP9QhSRxfztjNM9a3vorLPGSNmDd5HTmo7Nda5wMW6Rw_WjhRK",
	}
	path := ["warrant", "issuers", fixtures.control_plane, "keys", "w3"]
	state := fixtures.state_with("add", path, fixtures.vetted(key, "ES384"))
	token := fixtures.sign({"alg": "ES384", "kid": "w3", "typ": "warrant+jwt"}, fixtures.root_claims, key)
	not short_in(state, [token], fixtures.alice)
	judge.failures_in(state, fixtures.request_with([token]), fixtures.alice) == ["warrant.malformed"]
}

test_the_short_way_takes_no_warrant_that_is_too_long if {
	token := fixtures.root_with({"resources": ["payment/*", sprintf("payment/%07000d", [1])]})
	count(token) > 8192
	not short([token], fixtures.alice)
	judge.of_root(token) == ["warrant.malformed"]
}

test_the_short_way_takes_no_warrant_without_a_life if {
	token := fixtures.root_with({"iat": fixtures.second + 1, "exp": fixtures.second + 1})
	not short([token], fixtures.alice)
	judge.of_root(token) != []
}
