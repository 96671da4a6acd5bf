package placet.segment_test

import data.placet.segment

home := "https://issuer.example"

partner := "https://partner.example"

alice := {"id": "alice", "issuer": home, "domain": "example.org", "claims": {}, "actors": []}

helper := {"id": "helper", "issuer": partner, "domain": "partner.example", "claims": {}, "actors": []}

request := {"action": {"name": "refund"}, "resource": {"type": "payment", "id": "p-1"}}

segments := {
	"subjects": {home: {"alice": "office", "stranded": "island"}},
	"subject_prefixes": {
		home: [{"prefix": "agent-x", "segment": "lab"}, {"prefix": "agent-", "segment": "office"}],
		partner: [{"prefix": "", "segment": "guests"}],
	},
	"resources": {"payment/p-9": "vault"},
	"resource_prefixes": [{"prefix": "payment/", "segment": "money"}, {"prefix": "pay", "segment": "office"}],
	"flows": {
		"office": {"money": ["refund", "read*"]},
		"guests": {"money": ["read"], "guests": ["read"]},
		"island": {},
	},
}

trust := {
	"domain": "example.org",
	"issuers": {home: {"domain": "example.org"}, partner: {"domain": "partner.example"}},
	"segments": segments,
}

failures_in(trust, subject, request) := codes if {
	codes := segment.failures with data.placet_state as {"trust": trust}
		with data.placet.identity.subject as subject
		with input as request
}

failures(subject, action, resource) := failures_in(trust, subject, {
	"action": {"name": action},
	"resource": {"type": split(resource, "/")[0], "id": concat("/", array.slice(split(resource, "/"), 1, 9))},
})

names(subject, request) := found if {
	found := segment.names with data.placet_state as {"trust": trust}
		with data.placet.identity.subject as subject
		with input as request
}

named(id) := object.union(alice, {"id": id})

test_a_flow_lets_through if {
	failures(alice, "refund", "payment/p-1") == []
	failures(named("agent-1"), "read.all", "payment/p-1") == []
	failures(helper, "read", "payment/p-1") == []
}

test_within_a_segment_no_flow_is_needed if {
	failures(alice, "anything", "payroll/x") == []
}

test_no_flow if {
	failures(alice, "delete", "payment/p-1") == ["segment.flow"]
	failures(alice, "refund", "payment/p-9") == ["segment.flow"]
	failures(named("agent-x1"), "refund", "payment/p-1") == ["segment.flow"]
	failures(named("stranded"), "refund", "payment/p-1") == ["segment.flow"]
}

test_in_no_segment if {
	failures(named("bob"), "refund", "payment/p-1") == ["segment.unknown"]
	failures(alice, "refund", "ledger/main") == ["segment.unknown"]
	failures(named("bob"), "refund", "ledger/main") == ["segment.unknown"]
}

test_a_type_with_a_slash_is_in_no_segment if {
	failures_in(trust, alice, {"action": {"name": "refund"}, "resource": {"type": "payment/p", "id": "1"}}) == ["segment.unknown"]
}

test_the_trust_boundary if {
	failures(helper, "refund", "payment/p-1") == ["segment.flow", "segment.boundary"]
	failures(helper, "read", "ledger/main") == ["segment.unknown", "segment.boundary"]

	# Also inside one segment.
	guests := object.union(trust, {"segments": object.union(segments, {"resources": {"note/n": "guests"}})})
	failures_in(guests, helper, {"action": {"name": "read"}, "resource": {"type": "note", "id": "n"}}) == []
	failures_in(guests, helper, {"action": {"name": "write"}, "resource": {"type": "note", "id": "n"}}) == ["segment.boundary"]

	# An actor whose flow is there has crossed nothing, whatever its subject lacks.
	stranded := object.union(named("stranded"), {"actors": [{"issuer": partner, "id": "helper"}]})
	failures(stranded, "read", "payment/p-1") == ["segment.flow"]
}

test_an_actor_of_another_domain_crosses_the_boundary_too if {
	acted := object.union(alice, {"actors": [{"issuer": partner, "id": "helper"}]})
	failures(acted, "read", "payment/p-1") == []
	failures(acted, "refund", "payment/p-1") == ["segment.boundary"]
	unknown := object.union(alice, {"actors": [{"issuer": "https://nobody.example", "id": "helper"}]})
	failures(unknown, "read", "payment/p-1") == ["segment.unknown", "segment.boundary"]
	home_acted := object.union(alice, {"actors": [{"issuer": home, "id": "anyone"}]})
	failures(home_acted, "refund", "payment/p-1") == []
}

test_where_nothing_is_segmented_the_boundary_counts if {
	open := object.union(trust, {"segments": null})
	failures_in(open, alice, request) == []
	failures_in(open, helper, request) == ["segment.boundary"]
	failures_in(open, object.union(alice, {"actors": [{"issuer": home, "id": "agent"}]}), request) == []
	failures_in(open, object.union(alice, {"actors": [{"issuer": partner, "id": "helper"}]}), request) == ["segment.boundary"]
	failures_in(object.remove(open, ["domain"]), alice, request) == ["segment.boundary"]
	failures_in(object.remove(open, ["issuers"]), alice, request) == ["segment.boundary"]
}

test_segments_of_another_form_let_nobody_through if {
	every value in [true, false, 7, "text", [], {}, [segments]] {
		failures_in(object.union(object.remove(trust, ["segments"]), {"segments": value}), alice, request) == ["segment.unknown"]
	}
	failures_in(object.remove(trust, ["segments"]), alice, request) == ["segment.unknown"]
	segment.failures == ["segment.unknown"]
	every member in ["subjects", "subject_prefixes", "resources", "resource_prefixes", "flows"] {
		every value in [null, true, 7, "office", [], {}, [null], [7], {"office": null}, {home: null}, {home: []}, {home: "alice"}] {
			state := object.union(trust, {"segments": null})
			broken := json.patch(object.union(state, {"segments": segments}), [{"op": "replace", "path": ["segments", member], "value": value}])
			failures_in(broken, named("agent-1"), object.union(request, {"action": {"name": "delete"}})) != []
		}
	}
	every flows in [null, [], "refund", {"office": []}, {"office": {"money": null}}, {"office": {"money": "refund"}}, {"office": "money"}] {
		broken := json.patch(trust, [{"op": "replace", "path": "/segments/flows", "value": flows}])
		failures_in(broken, alice, request) == ["segment.flow"]
	}
}

test_requests_of_another_form if {
	every other in [{}, {"action": {"name": "refund"}}, {"resource": request.resource}, {"action": {"name": 7}, "resource": request.resource}] {
		failures_in(trust, alice, other) != []
	}
}

test_without_a_subject_nobody_is_let_through if {
	codes := segment.failures with data.placet_state as {"trust": trust}
		with input as request
	codes == ["segment.unknown"]
}

test_names if {
	names(alice, request) == ["office", "money"]
	names(object.union(alice, {"actors": [{"issuer": partner, "id": "helper"}]}), request) == ["office", "guests", "money"]
	names(named("bob"), request) == ["money"]
	names(alice, {"resource": {"type": "ledger", "id": "main"}}) == ["office"]
	without := segment.names with data.placet_state as {"trust": trust}
		with input as request
	without == ["money"]
	nothing := segment.names with data.placet_state as {"trust": {"segments": null}}
		with data.placet.identity.subject as alice
	nothing == []
}
