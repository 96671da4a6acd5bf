package placet.quarantine_test

import data.placet.fixtures_test as fixtures
import data.placet.quarantine

alice := {"id": "alice", "issuer": "i", "domain": "example.org", "claims": {}, "actors": []}

nobody := {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}

failures(lists, subject) := codes if {
	codes := quarantine.failures with data.placet_state as {"trust": {"quarantine": object.union(nobody, lists)}}
		with data.placet.identity.subject as subject
		with data.placet.warrant.holders as []
		with data.placet.segment.names as []
}

test_clear if {
	every subjects in [{}, {"i": {}}, {"i": {"bob": {}}}, {"j": {"alice": {}}}] {
		failures({"subjects": subjects}, alice) == []
	}
	failures({"domains": {"other.org": {}}, "executions": {"e": {}}, "segments": {"s": {}}}, alice) == []
}

test_any_entry_quarantines if {
	every entry in [{"reason": "theft", "since": "2026-01-31T12:00:00Z"}, {}, [], "", "absent", 0, false, null] {
		failures({"subjects": {"i": {"alice": entry}}}, alice) == ["quarantine.subject"]
		failures({"domains": {"example.org": entry}}, alice) == ["quarantine.domain"]
	}
}

test_a_malformed_list_clears_nobody if {
	every subjects in [null, true, false, 7, "text", [], ["alice"]] {
		every list in ["subjects", "executions", "domains", "segments"] {
			failures(json.patch({}, [{"op": "add", "path": [list], "value": subjects}]), alice) == ["quarantine.malformed"]
		}
	}
	every of_issuer in [[], null, "alice", false] {
		failures({"subjects": {"i": of_issuer}}, alice) == ["quarantine.malformed"]
		failures({"subjects": {"i": of_issuer}}, acted) == ["quarantine.malformed"]
	}
	quarantine.failures == ["quarantine.malformed"] with data.placet.identity.subject as alice
	quarantine.failures == ["quarantine.malformed"] with data.placet_state as {"trust": {"quarantine": []}}
		with data.placet.identity.subject as alice
}

test_what_cannot_be_told_clears_nobody if {
	state := {"trust": {"quarantine": nobody}}
	every unknown in [null, false, "text"] {
		quarantine.failures == ["quarantine.malformed"] with data.placet_state as state
			with data.placet.segment.names as unknown
			with data.placet.warrant.holders as []
		quarantine.failures == ["quarantine.malformed"] with data.placet_state as state
			with data.placet.segment.names as []
			with data.placet.warrant.holders as unknown
	}
}

test_without_a_subject_only_the_form_counts if {
	quarantine.failures == [] with data.placet_state as {"trust": {"quarantine": nobody}}
	quarantine.failures == ["quarantine.malformed"] with data.placet_state as {"trust": {"quarantine": {"subjects": []}}}
}

# Somebody for whom another acts, who was forwarded by a third.
acted := {
	"id": "carol",
	"issuer": "j",
	"domain": "far.example",
	"claims": {},
	"actors": [{"issuer": "j", "id": "agent"}, {"issuer": "i", "id": "alice"}],
	"via": {"issuer": "g", "id": "gateway"},
}

test_everybody_on_whom_the_request_depends if {
	every quarantined in [{"j": {"agent": {}}}, {"i": {"alice": {}}}, {"g": {"gateway": {}}}] {
		failures({"subjects": quarantined}, acted) == ["quarantine.actor"]
	}
	failures({"subjects": {"j": {"carol": {}, "agent": {}}}}, acted) == ["quarantine.subject", "quarantine.actor"]
}

test_the_domain_of_who_forwarded if {
	quarantine.failures == ["quarantine.domain"] with data.placet.identity.subject as acted
		with data.placet.warrant.holders as []
		with data.placet.segment.names as []
		with data.placet_state as {"trust": {
			"issuers": {"g": {"domain": "gates.example"}},
			"quarantine": object.union(nobody, {"domains": {"gates.example": {}}}),
		}}
}

test_holders_of_warrants if {
	every lists, code in {
		{"subjects": {"h": {"holder": {}}}}: "quarantine.actor",
		{"domains": {"held.example": {}}}: "quarantine.domain",
	} {
		quarantine.failures == [code] with data.placet.identity.subject as alice
			with data.placet.warrant.holders as [{"issuer": "h", "id": "holder", "domain": "held.example"}]
			with data.placet.segment.names as []
			with data.placet_state as {"trust": {"quarantine": object.union(nobody, lists)}}
	}
}

# A domain's warrants end with it, also those that it issued for others.
test_the_domain_that_issued_the_warrants if {
	every domain, codes in {"partner.example": ["quarantine.domain"], "other.example": []} {
		quarantine.failures == codes with data.placet.identity.subject as alice
			with data.placet.warrant.granted as {"ids": ["w-1"], "issuer": "spiffe://partner.example/control-plane"}
			with data.placet.warrant.holders as []
			with data.placet.segment.names as []
			with data.placet_state as {"trust": {
				"warrant": {"issuers": {"spiffe://partner.example/control-plane": {"domain": "partner.example"}}},
				"quarantine": object.union(nobody, {"domains": {domain: {}}}),
			}}
	}
}

test_executions_and_segments if {
	every lists, code in {
		{"executions": {"e-1": {}}}: "quarantine.execution",
		{"segments": {"cards": false}}: "quarantine.segment",
		{"executions": {"e-2": {}}, "segments": {"mail": {}}}: null,
	} {
		quarantine.failures == [code | code != null] with data.placet.identity.subject as alice
			with input as {"execution": {"id": "e-1"}}
			with data.placet.warrant.holders as []
			with data.placet.segment.names as ["apps", "cards"]
			with data.placet_state as {"trust": {"quarantine": object.union(nobody, lists)}}
	}
}

# Inside an execution, its token says on whom it depends.
test_inside_an_execution if {
	token := fixtures.sign_execution({
		"principals": [[fixtures.issuer, "alice"], ["h", "holder"]],
		"domains": ["example.org", "held.example"],
	})
	every lists, code in {
		{"subjects": {fixtures.issuer: {"alice": {}}}}: "quarantine.subject",
		{"subjects": {"h": {"holder": {}}}}: "quarantine.actor",
		{"domains": {"held.example": {}}}: "quarantine.domain",
		{"domains": {"other.example": {}}}: null,
	} {
		state := json.patch(fixtures.state, [{
			"op": "replace",
			"path": "/trust/quarantine",
			"value": object.union(nobody, lists),
		}])
		quarantine.failures == [code | code != null] with data.placet_state as state
			with input as json.patch(fixtures.inside, [{"op": "replace", "path": "/execution/token", "value": token}])
			with data.placet.clock.now as fixtures.now
	}
}
