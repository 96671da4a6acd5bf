package agent_tools.authz_test

import data.agent_tools.authz

decide(subject, tool, resource) := decision if {
	decision := authz.decision with data.placet.subject as {"id": subject, "issuer": "test"}
		with input as {"action": {"name": tool}, "resource": resource}
}

codes(decision) := {reason.code | some reason in decision.reasons}

researcher := "spiffe://example.org/agent/researcher"

writer := "spiffe://example.org/agent/writer"

url(id) := {"type": "url", "id": id}

file(id) := {"type": "file", "id": id}

test_a_researcher_fetches_from_a_granted_host if {
	decide(researcher, "web.fetch", url("https://docs.example.org/page")).allow
}

test_another_host_is_denied if {
	every id in [
		"https://docs.example.org.evil.example/",
		"https://docs.example.org:8443/",
		"https://docs.example.org@evil.example/",
		"http://docs.example.org/",
		"docs.example.org",
	] {
		codes(decide(researcher, "web.fetch", url(id))) == {"host_not_granted"}
	}
}

test_a_researcher_does_not_write if {
	codes(decide(researcher, "files.write", file("/reports/a"))) == {"tool_not_granted"}
}

test_writing_needs_approval if {
	decision := decide(writer, "files.write", file("/drafts/a"))
	decision.allow
	decision.obligations == {{"type": "approval", "by": "owner"}}
}

test_a_path_that_climbs_is_denied if {
	codes(decide(writer, "files.read", file("/drafts/../secrets"))) == {"path_not_granted"}
}

test_an_unknown_agent_may_do_nothing if {
	codes(decide("spiffe://example.org/agent/other", "files.read", file("/reports/a"))) == {
		"tool_not_granted",
		"path_not_granted",
	}
}
