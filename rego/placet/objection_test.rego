package placet.objection_test

import data.placet.warrant
import data.placet.warrant_fixtures_test as fixtures
import data.placet.warrant_judge_test as judge

asking(changes) := object.union(object.remove(fixtures.request_with(fixtures.chain), object.keys(changes)), changes)

failures_asking(changes) := judge.failures_in(fixtures.state, asking(changes), fixtures.tool)

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
	judge.failures_in(fixtures.state, request, fixtures.tool) == ["warrant.action", "warrant.resource", "warrant.constraint"]
	root_request := fixtures.request_with([fixtures.root])
	every change in [{"action": {"name": "write"}}, {"resource": {"type": "ledger"}}, {"resource": {"type": "payment/p"}}] {
		request_changed := object.union(root_request, change)
		judge.failures_in(fixtures.state, request_changed, fixtures.alice) == judge.long_failures_in(fixtures.state, request_changed, fixtures.alice)
		judge.failures_in(fixtures.state, request_changed, fixtures.alice) != []
	}
}

test_a_proof_where_the_last_names_a_key if {
	token := fixtures.root_with({"cnf": {"jwk": fixtures.public(fixtures.agent_key)}})
	request := fixtures.request_with([token])
	judge.failures_in(fixtures.state, request, fixtures.alice) == ["warrant.proof_missing"]
	judge.failures_in(fixtures.state, object.union(request, {"proof": "junk"}), fixtures.alice) == ["warrant.proof_invalid"]
	proven := object.union(request, {"proof": fixtures.proof(fixtures.agent_key, {})})
	judge.failures_in(fixtures.state, proven, fixtures.alice) == []
}

test_two_of_one_id_are_no_chain if {
	judge.of_hops(fixtures.hop1_with({"jti": "root"}), fixtures.hop2) == ["warrant.malformed"]
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
	judge.of_hops(second, fixtures.hop2) == ["warrant.malformed"] # it ends before it was issued

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
	judge.failures_in(state, fixtures.request_with([fixtures.first, odd, last]), fixtures.alice) == [
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
		with data.placet.objection.codes as []
	codes == ["warrant.malformed"]
}
