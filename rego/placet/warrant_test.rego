package placet.warrant_test

import data.placet.warrant
import data.placet.warrant_fixtures_test as fixtures
import data.placet.warrant_judge_test as judge

test_one_warrant if {
	judge.of_root(fixtures.root) == []
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
		judge.root_with(changes) == []
	}
	es256 := fixtures.sign({"alg": "ES256", "kid": "w2", "typ": "warrant+jwt"}, fixtures.root_claims, fixtures.partner_key)
	judge.of_root(es256) == []
}

test_a_chain_of_three if {
	judge.failures(fixtures.chain, fixtures.tool) == []
	judge.of_hops(fixtures.hop1_with({"exp": fixtures.first_claims.exp}), fixtures.hop2) == []
	judge.of_hops(fixtures.hop1, fixtures.hop2_with({"nbf": fixtures.second_claims.nbf, "exp": fixtures.second_claims.exp})) == []
}

test_a_chain_of_nine if {
	judge.failures(fixtures.nine, fixtures.alice) == []
	judge.failures(array.slice(fixtures.nine, 0, 4), fixtures.alice) == ["warrant.proof_missing"]
	judge.failures(array.concat(fixtures.nine, [fixtures.root]), fixtures.alice) == ["warrant.malformed"]
}

test_none_is_needed if {
	free := fixtures.state_with("replace", ["warrant", "required"], false)
	judge.failures_in(free, fixtures.request, fixtures.alice) == []
	warrant.failures == [] with input as fixtures.request
		with data.placet_state as free

	# One that is there is judged all the same.
	judge.failures_in(free, fixtures.request_with(["junk"]), fixtures.alice) == ["warrant.malformed"]
}

test_inside_an_execution_its_token_says_what_is_wrong if {
	every token in ["t", null, 7, false, {}, []] {
		inside := object.union(fixtures.request, {"execution": {"id": "e", "token": token}})
		judge.failures_in(fixtures.state, inside, fixtures.alice) == []
		judge.failures_in(fixtures.state, object.union(inside, {"warrant": ["junk"]}), fixtures.alice) == []
	}
}

test_inside_an_execution_the_token_says_what_was_granted if {
	token := {
		"sub": "alice",
		"sub_iss": fixtures.home,
		"actors": [{"issuer": fixtures.home, "id": "agent"}],
		"warrants": ["root", "hop1"],
		"warrant_issuer": fixtures.control_plane,
		"actions": ["refund"],
		"resources": ["payment/*"],
		"constraints": {},
		"exp": fixtures.second + 300,
	}
	inside := object.union(fixtures.request_with([fixtures.root]), {"execution": {"id": "e", "token": "t"}})
	read_inside(inside, token) == {
		"granted": {
			"ids": ["root", "hop1"],
			"issuer": fixtures.control_plane,
			"subject": {"issuer": fixtures.home, "id": "alice"},
			"actors": [{"issuer": fixtures.home, "id": "agent"}],
			"actions": ["refund"],
			"resources": ["payment/*"],
			"constraints": {},
			"expires_at": fixtures.second + 300,
		},
		"others": [[], [], [], null, null],
	}
	none := read_inside(inside, json.patch(token, [{"op": "replace", "path": "/warrants", "value": []}]))
	none == {"granted": null, "others": [[], [], [], null, null]}
}

read_inside(request, token) := found if {
	found := {
		"granted": warrant.granted,
		"others": [
			warrant.ids,
			warrant.holders,
			warrant.redeem,
			warrant.expires_at,
			object.get(warrant, "scope", null),
		],
	} with input as request
		with data.placet_state as fixtures.state
		with data.placet.execution.token as token
		with data.placet.identity.subject as fixtures.alice
		with data.placet.clock.now as fixtures.now
}

test_missing if {
	judge.failures_in(fixtures.state, fixtures.request, fixtures.alice) == ["warrant.missing"]
	named := object.union(fixtures.request, {"execution": {"id": "e"}})
	judge.failures_in(fixtures.state, named, fixtures.alice) == ["warrant.missing"]
	every value in [null, true, 0, "", "false", [], {}] {
		state := fixtures.state_with("replace", ["warrant", "required"], value)
		judge.failures_in(state, fixtures.request, fixtures.alice) == ["warrant.missing"]
	}
	judge.failures_in(fixtures.state_with("replace", ["warrant"], null), fixtures.request, fixtures.alice) == ["warrant.missing"]
	warrant.failures == ["warrant.malformed"] # without any input
}

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
