package placet.hop_test

import data.placet.warrant
import data.placet.warrant_fixtures_test as fixtures
import data.placet.warrant_judge_test as judge

test_for_another_system if {
	every aud in ["spiffe://example.org/system/ledger", ["a", "b"], concat("", [fixtures.audience, "/"])] {
		judge.root_with({"aud": aud}) == ["warrant.audience"]
	}
	judge.of_hops(fixtures.hop1_with({"aud": ["other"]}), fixtures.hop2) == ["warrant.audience", "warrant.widened"]
	judge.of_hops(fixtures.hop1_with({"aud": [fixtures.audience, "other"]}), fixtures.hop2) == ["warrant.widened"]
}

test_times if {
	every exp in [fixtures.second, fixtures.second - 1, fixtures.second - 59] {
		judge.root_with({"exp": exp}) == ["warrant.expired"]
	}
	judge.root_with({"nbf": fixtures.second + 1}) == ["warrant.not_yet_valid"]
	judge.root_with({"iat": fixtures.second + 3}) == ["warrant.not_yet_valid"]
	judge.of_hops(fixtures.hop1_with({"exp": fixtures.second}), fixtures.hop2) == ["warrant.expired", "warrant.widened"]
	judge.of_hops(fixtures.hop1, fixtures.hop2_with({"iat": fixtures.second - 40, "exp": fixtures.second - 2})) == ["warrant.expired"]
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
		judge.failures([fixtures.root], subject) == ["warrant.subject"]
	}
	nobody := warrant.failures with input as fixtures.request_with([fixtures.root])
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
		with data.placet.identity.subject as false
	nobody == ["warrant.subject"]
	judge.root_with({"sub": "bob", "sub_id": {"sub": "bob"}}) == ["warrant.subject"]
	judge.root_with({"sub_id": {"iss": fixtures.partner}}) == ["warrant.subject"]
	judge.failures(fixtures.chain, fixtures.alice) == ["warrant.subject"]
}

test_a_warrant_with_an_actor if {
	token := fixtures.root_with({"act": {"iss": fixtures.home, "sub": "agent"}})
	agent := object.union(fixtures.alice, {"id": "agent"})
	every subject in [
		agent,
		object.union(fixtures.alice, {"actors": [{"issuer": fixtures.home, "id": "agent"}]}),
		object.union(fixtures.alice, {"actors": [{"issuer": fixtures.home, "id": "agent", "domain": "example.org"}]}),
	] {
		judge.failures([token], subject) == []
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
		judge.failures([token], subject) == ["warrant.subject"]
	}

	# A warrant without an actor is not for a subject that somebody acts for, be it itself.
	judge.failures([fixtures.root], object.union(fixtures.alice, {"actors": [{"issuer": fixtures.home, "id": "alice"}]})) == ["warrant.subject"]
}

test_a_hop_that_its_holder_did_not_delegate if {
	judge.of_hops(fixtures.hop1, fixtures.hop2_with({"iss": "other"})) == ["warrant.subject"]
	judge.of_hops(fixtures.hop1_with({"iss": "alice"}), fixtures.hop2) == ["warrant.subject"]
	judge.of_hops(fixtures.hop1_with({"act": {"iss": fixtures.partner, "sub": "x"}}), fixtures.hop2) == ["warrant.subject"]
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
		{"approval": fixtures.approval},
	] {
		"warrant.widened" in judge.of_hops(fixtures.hop1_with(changes), fixtures.hop2)
	}
	every member in ["constraints", "nbf"] {
		judge.of_hops(fixtures.hop1, fixtures.hop2_without([member])) == ["warrant.widened"]
	}
	judge.of_hops(fixtures.hop1, fixtures.hop2_with({"nbf": fixtures.second_claims.nbf - 1})) == ["warrant.widened"]
}

test_depth if {
	every changes in [{"depth": 2}, {"depth": 8}] {
		judge.of_hops(fixtures.hop1_with(changes), fixtures.hop2) == ["warrant.depth"]
	}
	judge.of_hops(fixtures.hop1_with({"depth": 0}), fixtures.hop2) == ["warrant.depth"]
	judge.of_hops(fixtures.hop1_without(["depth"]), fixtures.hop2) == ["warrant.depth"]
	judge.of_hops(fixtures.hop1_without(["depth"]), "junk") == ["warrant.malformed", "warrant.depth"]
}

test_domains if {
	every issuer in ["https://stranger.example", "https://nobody.example"] {
		judge.of_hops(fixtures.hop1_with({"sub_id": {"iss": issuer}}), fixtures.hop2) == ["warrant.domain"]
		judge.of_hops(fixtures.hop1_with({"act": {"iss": issuer, "sub": "helper"}}), fixtures.hop2) == ["warrant.domain"]
		acting := {"sub_id": {"iss": issuer}, "act": {"iss": fixtures.partner, "sub": "helper"}}
		judge.of_hops(fixtures.hop1_with(acting), fixtures.hop2) == ["warrant.domain"]
	}
	every value in [null, [], {}, true, {"partner.example": false}, {"partner.example": {}}, ["partner.example"]] {
		state := fixtures.state_with("replace", ["links"], value)
		judge.failures_in(state, fixtures.request_with(fixtures.chain), fixtures.tool) == ["warrant.domain"]
	}
	every value in [null, [], {}, true, {fixtures.home: null}, {fixtures.home: {}}] {
		state := fixtures.state_with("replace", ["issuers"], value)
		judge.failures_in(state, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.domain"]
		judge.long_failures_in(state, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.domain"]
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
	judge.failures_in(state, fixtures.request_with([token]), them) == []
	judge.failures([token], them) == ["warrant.issuer_unknown"]
}

test_revoked if {
	every id in ["root", "hop1", "hop2"] {
		every entry in [{"expires_at": 1}, {}, null, false, 0] {
			state := fixtures.state_with("replace", ["warrant", "revoked"], {id: entry})
			judge.failures_in(state, fixtures.request_with(fixtures.chain), fixtures.tool) == ["warrant.revoked"]
		}
	}
	revoked := fixtures.state_with("replace", ["warrant", "revoked"], {"root": {}})
	judge.failures_in(revoked, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.revoked"]
	every value in [null, [], ["root"], "root", true, 7] {
		state := fixtures.state_with("replace", ["warrant", "revoked"], value)
		judge.failures_in(state, fixtures.request_with([fixtures.root]), fixtures.alice) == ["warrant.revoked"]
	}
}

test_uses_need_an_execution if {
	token := fixtures.root_with({"uses": 1})
	judge.failures([token], fixtures.alice) == ["warrant.needs_execution"]
	judge.of_hops(fixtures.hop1_with({"uses": 3}), fixtures.hop2) == ["warrant.needs_execution"]
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
