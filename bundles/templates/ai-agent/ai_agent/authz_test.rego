package ai_agent.authz_test

import data.ai_agent.authz

researcher := {"id": "spiffe://example.org/agent/researcher", "issuer": "test"}

writer := {"id": "spiffe://example.org/agent/writer", "issuer": "test"}

decide(subject, tool, resource, cost) := decision if {
	decision := authz.decision with data.placet.subject as subject
		with input as {"action": {"name": tool}, "resource": resource, "context": {"cost": cost}}
}

codes(decision) := {reason.code | some reason in decision.reasons}

page(id) := {"type": "url", "id": id}

draft := {"type": "file", "id": "/drafts/a"}

test_a_researcher_fetches_a_page if {
	decision := decide(researcher, "web.fetch", page("https://docs.example.org/page"), 1)
	decision == {"allow": true, "reasons": set(), "obligations": set()}
}

test_another_host_is_denied if {
	every id in [
		"https://docs.example.org.evil.example/",
		"http://docs.example.org/",
		"https://docs.example.org/@evil.example",
		"https://docs.example.org/../secrets",
	] {
		codes(decide(researcher, "web.fetch", page(id), 1)) == {"resource_not_granted"}
	}
}

test_a_researcher_does_not_write if {
	codes(decide(researcher, "files.write", draft, 1)) == {"tool_not_granted"}
}

test_writing_needs_a_person if {
	decision := decide(writer, "files.write", draft, 1)
	decision.allow
	decision.obligations == {
		{"type": "require_approval", "by": ["owner"]},
		{"type": "record", "level": "full"},
	}
}

test_a_call_beyond_its_budget_is_denied if {
	every cost in [11, -1, "1"] {
		codes(decide(writer, "files.write", draft, cost)) == {"over_budget"}
	}
}

test_only_who_may_be_delegated_acts_for_others if {
	asked_by := [{"id": "spiffe://example.org/agent/planner", "issuer": "test"}]
	decide(object.union(researcher, {"actors": asked_by}), "web.fetch", page("https://docs.example.org/a"), 1).allow
	codes(decide(object.union(writer, {"actors": asked_by}), "files.write", draft, 1)) == {"delegated"}
}

test_an_unknown_agent_may_do_nothing if {
	not decide({"id": "spiffe://example.org/agent/other", "issuer": "test"}, "files.write", draft, 1).allow
}
