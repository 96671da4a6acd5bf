package placet.warrant_test

import data.placet.warrant
import data.placet.warrant_fixtures_test as fixtures

failures_in(state, request, subject) := codes if {
	codes := warrant.failures with input as request
		with data.placet_state as state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
}

# The same, without the short way.
long_failures_in(state, request, subject) := codes if {
	codes := warrant.failures with input as request
		with data.placet_state as state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
		with data.placet.warrant.usual as false
}

failures(chain, subject) := failures_in(fixtures.state, fixtures.request_with(chain), subject)

# Of a root alone, which the short way must judge as the long one does.
of_root(token) := codes if {
	codes := failures([token], fixtures.alice)
	codes == long_failures_in(fixtures.state, fixtures.request_with([token]), fixtures.alice)
}

root_with(changes) := of_root(fixtures.root_with(changes))

# Of the chain of three with one hop changed.
of_hops(second, third) := failures([fixtures.first, second, third], fixtures.tool)

test_one_warrant if {
	of_root(fixtures.root) == []
	every changes in [
		{"aud": ["other", fixtures.audience]},
		{"nbf": fixtures.second},
		{"iat": fixtures.second + 2},
		{"exp": fixtures.second + 3},
		{"constraints": {}},
		{"constraints": {"amount": {"at_most": 40}}},
		{"depth": 8},
		{"depth": 0},
		{"actions": ["*"], "resources": ["*"]},
		{"actions": ["ref*"], "resources": ["payment/p-1"]},
		{"jti": "a_B-9"},
	] {
		root_with(changes) == []
	}
	es256 := fixtures.sign({"alg": "ES256", "kid": "w2", "typ": "warrant+jwt"}, fixtures.root_claims, fixtures.partner_key)
	of_root(es256) == []
}

test_a_chain_of_three if {
	failures(fixtures.chain, fixtures.tool) == []
	of_hops(fixtures.hop1_with({"exp": fixtures.first_claims.exp}), fixtures.hop2) == []
	of_hops(fixtures.hop1, fixtures.hop2_with({"nbf": fixtures.second_claims.nbf, "exp": fixtures.second_claims.exp})) == []
}

test_a_chain_of_nine if {
	failures(fixtures.nine, fixtures.alice) == []
	failures(array.slice(fixtures.nine, 0, 4), fixtures.alice) == ["warrant.proof_missing"]
	failures(array.concat(fixtures.nine, [fixtures.root]), fixtures.alice) == ["warrant.malformed"]
}

test_none_is_needed if {
	free := fixtures.state_with("replace", ["warrant", "required"], false)
	failures_in(free, fixtures.request, fixtures.alice) == []
	warrant.failures == [] with input as fixtures.request
		with data.placet_state as free
	inside := object.union(fixtures.request, {"execution": {"id": "e", "token": "t"}})
	failures_in(fixtures.state, inside, fixtures.alice) == []

	# One that is there is judged all the same.
	failures_in(free, fixtures.request_with(["junk"]), fixtures.alice) == ["warrant.malformed"]
	failures_in(fixtures.state, object.union(inside, {"warrant": []}), fixtures.alice) == ["warrant.malformed"]
}

test_missing if {
	failures_in(fixtures.state, fixtures.request, fixtures.alice) == ["warrant.missing"]
	every token in [null, 7, false, true, {}, []] {
		inside := object.union(fixtures.request, {"execution": {"id": "e", "token": token}})
		failures_in(fixtures.state, inside, fixtures.alice) == ["warrant.missing"]
	}
	every value in [null, true, 0, "", "false", [], {}] {
		state := fixtures.state_with("replace", ["warrant", "required"], value)
		failures_in(state, fixtures.request, fixtures.alice) == ["warrant.missing"]
	}
	failures_in(fixtures.state_with("replace", ["warrant"], null), fixtures.request, fixtures.alice) == ["warrant.missing"]
	warrant.failures == ["warrant.malformed"] # without any input
}

test_for_another_system if {
	every aud in ["spiffe://example.org/system/ledger", ["a", "b"], concat("", [fixtures.audience, "/"])] {
		root_with({"aud": aud}) == ["warrant.audience"]
	}
	of_hops(fixtures.hop1_with({"aud": ["other"]}), fixtures.hop2) == ["warrant.audience", "warrant.widened"]
	of_hops(fixtures.hop1_with({"aud": [fixtures.audience, "other"]}), fixtures.hop2) == ["warrant.widened"]
}

test_times if {
	every exp in [fixtures.second, fixtures.second - 1, fixtures.second - 59] {
		root_with({"exp": exp}) == ["warrant.expired"]
	}
	root_with({"nbf": fixtures.second + 1}) == ["warrant.not_yet_valid"]
	root_with({"iat": fixtures.second + 3}) == ["warrant.not_yet_valid"]
	of_hops(fixtures.hop1_with({"exp": fixtures.second}), fixtures.hop2) == ["warrant.expired", "warrant.widened"]
	of_hops(fixtures.hop1, fixtures.hop2_with({"iat": fixtures.second - 40, "exp": fixtures.second - 2})) == ["warrant.expired"]
}

test_not_the_callers if {
	every subject in [
		object.union(fixtures.alice, {"id": "bob"}),
		object.union(fixtures.alice, {"issuer": fixtures.partner}),
		object.union(fixtures.alice, {"actors": [{"issuer": fixtures.home, "id": "agent"}]}),
		object.union(fixtures.alice, {"actors": null}),
		{"id": "alice"},
		{},
		null,
	] {
		failures([fixtures.root], subject) == ["warrant.subject"]
	}
	nobody := warrant.failures with input as fixtures.request_with([fixtures.root])
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
		with data.placet.identity.subject as false
	nobody == ["warrant.subject"]
	root_with({"sub": "bob", "sub_id": {"sub": "bob"}}) == ["warrant.subject"]
	root_with({"sub_id": {"iss": fixtures.partner}}) == ["warrant.subject"]
	failures(fixtures.chain, fixtures.alice) == ["warrant.subject"]
}

test_a_warrant_with_an_actor if {
	token := fixtures.root_with({"act": {"iss": fixtures.home, "sub": "agent"}})
	agent := object.union(fixtures.alice, {"id": "agent"})
	every subject in [
		agent,
		object.union(fixtures.alice, {"actors": [{"issuer": fixtures.home, "id": "agent"}]}),
		object.union(fixtures.alice, {"actors": [{"issuer": fixtures.home, "id": "agent", "domain": "example.org"}]}),
	] {
		failures([token], subject) == []
	}
	every subject in [
		fixtures.alice,
		object.union(agent, {"issuer": fixtures.partner}),
		object.union(agent, {"actors": [{"issuer": fixtures.home, "id": "agent"}]}),
		object.union(fixtures.alice, {"id": "bob", "actors": [{"issuer": fixtures.home, "id": "agent"}]}),
		object.union(fixtures.alice, {"issuer": fixtures.partner, "actors": [{"issuer": fixtures.home, "id": "agent"}]}),
		object.union(fixtures.alice, {"actors": [{"issuer": fixtures.partner, "id": "agent"}]}),
		object.union(fixtures.alice, {"actors": [
			{"issuer": fixtures.home, "id": "agent"},
			{"issuer": fixtures.home, "id": "other"},
		]}),
	] {
		failures([token], subject) == ["warrant.subject"]
	}

	# A warrant without an actor is not for a subject that somebody acts for, be it itself.
	failures([fixtures.root], object.union(fixtures.alice, {"actors": [{"issuer": fixtures.home, "id": "alice"}]})) == ["warrant.subject"]
}

test_a_hop_that_its_holder_did_not_delegate if {
	of_hops(fixtures.hop1, fixtures.hop2_with({"iss": "other"})) == ["warrant.subject"]
	of_hops(fixtures.hop1_with({"iss": "alice"}), fixtures.hop2) == ["warrant.subject"]
	of_hops(fixtures.hop1_with({"act": {"iss": fixtures.partner, "sub": "x"}}), fixtures.hop2) == ["warrant.subject"]
}

test_widened if {
	every changes in [
		{"actions": ["refund", "write"]},
		{"actions": ["read*", "*"]},
		{"actions": ["rea*"]},
		{"resources": ["*"]},
		{"resources": ["payment*"]},
		{"resources": ["payment/p-*", "ledger/other"]},
		{"constraints": {"amount": {"at_most": 101}}},
		{"constraints": {"amount": {"at_least": 0}}},
		{"constraints": {"currency": {"in": ["EUR", "GBP"]}}},
		{"constraints": {"weight": {"at_least": 0.4}}},
		{"exp": fixtures.first_claims.exp + 1},
	] {
		"warrant.widened" in of_hops(fixtures.hop1_with(changes), fixtures.hop2)
	}
	every member in ["constraints", "nbf"] {
		of_hops(fixtures.hop1, fixtures.hop2_without([member])) == ["warrant.widened"]
	}
	of_hops(fixtures.hop1, fixtures.hop2_with({"nbf": fixtures.second_claims.nbf - 1})) == ["warrant.widened"]
}

test_depth if {
	every changes in [{"depth": 2}, {"depth": 8}] {
		of_hops(fixtures.hop1_with(changes), fixtures.hop2) == ["warrant.depth"]
	}
	of_hops(fixtures.hop1_with({"depth": 0}), fixtures.hop2) == ["warrant.depth"]
	of_hops(fixtures.hop1_without(["depth"]), fixtures.hop2) == ["warrant.depth"]
	of_hops(fixtures.hop1_without(["depth"]), "junk") == ["warrant.malformed", "warrant.depth"]
}

test_domains if {
	every issuer in ["https://stranger.example", "https://nobody.example"] {
		of_hops(fixtures.hop1_with({"sub_id": {"iss": issuer}}), fixtures.hop2) == ["warrant.domain"]
		of_hops(fixtures.hop1_with({"act": {"iss": issuer, "sub": "helper"}}), fixtures.hop2) == ["warrant.domain"]
	}
	every value in [null, [], {}, true, {"partner.example": false}, {"partner.example": {}}, ["partner.example"]] {
		state := fixtures.state_with("replace", ["links"], value)
		failures_in(state, fixtures.request_with(fixtures.chain), fixtures.tool) == ["warrant.domain"]
	}
	every value in [null, [], {}, true, {fixtures.home: null}, {fixtures.home: {}}] {
		state := fixtures.state_with("replace", ["issuers"], value)
		failures_in(state, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.domain"]
		long_failures_in(state, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.domain"]
	}
}

test_a_linked_domain_may_issue_and_hold if {
	state := json.patch(fixtures.state, [{"op": "add", "path": "/trust/links/stranger.example", "value": true}])
	token := fixtures.root_with({
		"iss": "spiffe://stranger.example/control-plane",
		"sub": "them",
		"sub_id": {"iss": "https://stranger.example", "sub": "them"},
	})
	them := object.union(fixtures.alice, {"id": "them", "issuer": "https://stranger.example"})
	failures_in(state, fixtures.request_with([token]), them) == []
	failures([token], them) == ["warrant.issuer_unknown"]
}

test_revoked if {
	every id in ["root", "hop1", "hop2"] {
		every entry in [{"expires_at": 1}, {}, null, false, 0] {
			state := fixtures.state_with("replace", ["warrant", "revoked"], {id: entry})
			failures_in(state, fixtures.request_with(fixtures.chain), fixtures.tool) == ["warrant.revoked"]
		}
	}
	revoked := fixtures.state_with("replace", ["warrant", "revoked"], {"root": {}})
	failures_in(revoked, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.revoked"]
	every value in [null, [], ["root"], "root", true, 7] {
		state := fixtures.state_with("replace", ["warrant", "revoked"], value)
		failures_in(state, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.revoked"]
	}
}

asking(changes) := object.union(object.remove(fixtures.request_with(fixtures.chain), object.keys(changes)), changes)

failures_asking(changes) := failures_in(fixtures.state, asking(changes), fixtures.tool)

test_what_is_not_covered if {
	failures_asking({"action": {"name": "read"}}) == ["warrant.action"]
	failures_asking({"resource": {"type": "payment", "id": "p-3"}}) == ["warrant.resource"]
	failures_asking({"resource": {"type": "payment/p", "id": "1"}}) == ["warrant.resource"]
	failures_asking({"context": {}}) == ["warrant.constraint"]
	failures_asking({"context": []}) == ["warrant.constraint"]
	every member in ["action", "resource", "context"] {
		every value in [null, 7, "refund", [], {}] {
			failures_asking({member: value}) != []
		}
	}
	request := object.remove(fixtures.request_with(fixtures.chain), ["action", "resource", "context"])
	failures_in(fixtures.state, request, fixtures.tool) == ["warrant.action", "warrant.resource", "warrant.constraint"]
	root_request := fixtures.request_with([fixtures.root])
	every change in [{"action": {"name": "write"}}, {"resource": {"type": "ledger"}}, {"resource": {"type": "payment/p"}}] {
		request_changed := object.union(root_request, change)
		failures_in(fixtures.state, request_changed, fixtures.alice) == long_failures_in(fixtures.state, request_changed, fixtures.alice)
		failures_in(fixtures.state, request_changed, fixtures.alice) != []
	}
}

test_uses_need_an_execution if {
	token := fixtures.root_with({"uses": 1})
	failures([token], fixtures.alice) == ["warrant.needs_execution"]
	of_hops(fixtures.hop1_with({"uses": 3}), fixtures.hop2) == ["warrant.needs_execution"]
	counted := {"failures": warrant.failures, "redeem": warrant.redeem} with input as fixtures.request_with([token])
		with data.placet_state as fixtures.state
		with data.placet.identity.subject as fixtures.alice
		with data.placet.clock.now as fixtures.now
		with data.placet.warrant.redeemed as true
	counted == {"failures": [], "redeem": [{
		"jti": "root",
		"issuer": fixtures.control_plane,
		"uses": 1,
		"expires_at": fixtures.second + 3600,
	}]}
	every value in [null, 0, "true", [], {}] {
		warrant.failures == ["warrant.needs_execution"] with input as fixtures.request_with([token])
			with data.placet_state as fixtures.state
			with data.placet.identity.subject as fixtures.alice
			with data.placet.clock.now as fixtures.now
			with data.placet.warrant.redeemed as value
	}
}

test_a_proof_where_the_last_names_a_key if {
	token := fixtures.root_with({"cnf": {"jwk": fixtures.public(fixtures.agent_key)}})
	request := fixtures.request_with([token])
	failures_in(fixtures.state, request, fixtures.alice) == ["warrant.proof_missing"]
	failures_in(fixtures.state, object.union(request, {"proof": "junk"}), fixtures.alice) == ["warrant.proof_invalid"]
	proven := object.union(request, {"proof": fixtures.proof(fixtures.agent_key, {})})
	failures_in(fixtures.state, proven, fixtures.alice) == []
}

test_two_of_one_id_are_no_chain if {
	of_hops(fixtures.hop1_with({"jti": "root"}), fixtures.hop2) == ["warrant.malformed"]
}

test_every_failure_is_reported_in_the_order_of_the_table if {
	second := fixtures.hop1_with({
		"iss": "other",
		"aud": ["other"],
		"exp": fixtures.second - 1,
		"iat": fixtures.second + 9,
		"nbf": fixtures.second - 30,
		"uses": 1,
	})
	of_hops(second, fixtures.hop2) == ["warrant.malformed"] # it ends before it was issued

	odd := fixtures.hop1_with({
		"iss": "other",
		"aud": ["other"],
		"exp": fixtures.second - 10,
		"nbf": fixtures.second - 40,
		"depth": 5,
		"uses": 1,
		"sub_id": {"iss": "https://stranger.example"},
		"cnf": {"jwk": fixtures.public(fixtures.partner_key)},
	})
	last := fixtures.hop2_with({
		"iat": fixtures.second + 9,
		"nbf": fixtures.second + 9,
		"actions": ["other"],
		"resources": ["other/*"],
		"constraints": {"amount": {"at_most": 1}},
		"cnf": {"jwk": fixtures.public(fixtures.agent_key)},
	})
	state := fixtures.state_with("replace", ["warrant", "revoked"], {"root": {}})
	failures_in(state, fixtures.request_with([fixtures.first, odd, last]), fixtures.alice) == [
		"warrant.audience",
		"warrant.expired",
		"warrant.not_yet_valid",
		"warrant.subject",
		"warrant.widened",
		"warrant.depth",
		"warrant.domain",
		"warrant.revoked",
		"warrant.action",
		"warrant.resource",
		"warrant.constraint",
		"warrant.proof_missing",
		"warrant.needs_execution",
	]
}

test_what_is_not_sound_is_denied_though_nothing_is_found if {
	codes := warrant.failures with input as fixtures.request_with([fixtures.root])
		with data.placet_state as fixtures.state
		with data.placet.identity.subject as object.union(fixtures.alice, {"id": "bob"})
		with data.placet.clock.now as fixtures.now
		with data.placet.warrant.explained as []
	codes == ["warrant.malformed"]
}

# What others read

read(chain, subject) := found if {
	found := {
		"granted": warrant.granted,
		"ids": warrant.ids,
		"holders": warrant.holders,
		"redeem": warrant.redeem,
		"expires_at": warrant.expires_at,
		"scope": object.get(warrant, "scope", null),
	} with input as fixtures.request_with(chain)
		with data.placet_state as fixtures.state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
}

test_what_is_read_of_a_chain if {
	read(fixtures.chain, fixtures.tool) == {
		"granted": {
			"ids": ["root", "hop1", "hop2"],
			"issuer": fixtures.control_plane,
			"subject": {"issuer": fixtures.partner, "id": "tool"},
			"actors": [],
			"actions": ["refund"],
			"resources": ["payment/p-1", "payment/p-2*"],
			"constraints": fixtures.third_claims.constraints,
			"expires_at": fixtures.second + 60,
		},
		"ids": ["root", "hop1", "hop2"],
		"holders": [
			{"issuer": fixtures.home, "id": "alice", "domain": "example.org"},
			{"issuer": fixtures.home, "id": "agent", "domain": "example.org"},
			{"issuer": fixtures.partner, "id": "helper", "domain": "partner.example"},
			{"issuer": fixtures.partner, "id": "tool", "domain": "partner.example"},
		],
		"redeem": [],
		"expires_at": fixtures.second + 60,
		"scope": {
			"actions": ["refund"],
			"resources": ["payment/p-1", "payment/p-2*"],
			"constraints": fixtures.third_claims.constraints,
		},
	}
}

test_the_actor_is_read if {
	token := fixtures.root_with({"act": {"iss": fixtures.home, "sub": "agent"}})
	read([token], object.union(fixtures.alice, {"id": "agent"})).granted.actors == [{"issuer": fixtures.home, "id": "agent"}]
}

test_nothing_but_holders_is_read_of_what_does_not_hold if {
	found := read([fixtures.first, fixtures.hop1, fixtures.hop2_with({"sub_id": {"iss": "https://nobody.example"}})], fixtures.alice)
	object.remove(found, ["holders"]) == {
		"granted": null,
		"ids": [],
		"redeem": [],
		"expires_at": null,
		"scope": null,
	}
	[[holder.id, holder.domain] | some holder in found.holders] == [
		["alice", "example.org"],
		["agent", "example.org"],
		["helper", "partner.example"],
		["tool", null],
	]
	read([fixtures.first, fixtures.hop1, "junk"], fixtures.alice).holders == array.slice(found.holders, 0, 3)
	every chain in [null, 7, "text", [], {}, ["junk"]] {
		read(chain, fixtures.alice) == {
			"granted": null,
			"ids": [],
			"holders": [],
			"redeem": [],
			"expires_at": null,
			"scope": null,
		}
	}
}

test_where_none_is_needed_everything_is_in_scope if {
	found := {"scope": warrant.scope, "granted": warrant.granted, "expires_at": warrant.expires_at, "holders": warrant.holders} with input as fixtures.request
		with data.placet_state as fixtures.state_with("replace", ["warrant", "required"], false)
	found == {
		"scope": {"actions": ["*"], "resources": ["*"], "constraints": {}},
		"holders": [],
		"granted": null,
		"expires_at": null,
	}
}

# Whatever the short way lets pass, the long one does.

test_the_short_way_lets_no_other_member_pass if of_root(fixtures.root_with({"other": 1})) == ["warrant.malformed"]

test_the_short_way_lets_no_other_iss_pass if judged_alike("iss")

test_the_short_way_lets_no_other_sub_pass if judged_alike("sub")

test_the_short_way_lets_no_other_sub_id_pass if judged_alike("sub_id")

test_the_short_way_lets_no_other_aud_pass if judged_alike("aud")

test_the_short_way_lets_no_other_iat_pass if judged_alike("iat")

test_the_short_way_lets_no_other_exp_pass if judged_alike("exp")

test_the_short_way_lets_no_other_jti_pass if judged_alike("jti")

test_the_short_way_lets_no_other_actions_pass if judged_alike("actions")

test_the_short_way_lets_no_other_resources_pass if judged_alike("resources")

judged_alike(member) if {
	value := fixtures.root_claims[member]
	every other in array.concat([value, {"a": value}, [value], [value, value]], fixtures.junk) {
		token := fixtures.root_with_member(member, other)
		passes := {[] | short([token], fixtures.alice)}
		passes - {long_failures_in(fixtures.state, fixtures.request_with([token]), fixtures.alice)} == set()
	}
}

test_the_short_way_is_for_those_at_home if {
	partner_subject := {"sub": "helper", "sub_id": {"iss": fixtures.partner, "sub": "helper"}}
	token := fixtures.root_with(partner_subject)
	helper := object.union(fixtures.tool, {"id": "helper"})
	failures([token], helper) == []
	not short([token], helper)
	short([fixtures.root], fixtures.alice)
	not short([fixtures.root_with({"aud": [fixtures.audience]})], fixtures.alice)
}

short(chain, subject) if {
	warrant.usual with input as fixtures.request_with(chain)
		with data.placet_state as fixtures.state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
}
