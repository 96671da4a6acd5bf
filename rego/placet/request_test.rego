package placet.request_test

import data.placet.fixtures_test as fixtures
import data.placet.request

failures(value) := codes if {
	codes := request.failures with input as value
}

test_good_requests if {
	every changes in [
		{},
		{"context": {"amount": 1}},
		{"warrant": []},
		{"execution": {"id": "e-1", "step": 3}},
		{"proof": ""},
		{"environment": []},
		{"environment": [1, "text", null, {}]}, # what they are is looked at where they are needed
		{"resource": {"properties": {"owner": "bob"}}},
	] {
		failures(fixtures.request_with(changes)) == []
	}
}

digest := concat("", ["sha256:", concat("", [digit | some _ in numbers.range(1, 64); digit := "a"])])

test_where_in_its_execution_a_request_may_stand if {
	long := concat("", [letter | some _ in numbers.range(1, 64); letter := "e"])
	every execution in [
		{"id": long},
		{"id": "e-1", "step": 1},
		{"id": "e-1", "step": "Load-2.a_b"},
		{"id": "e-1", "step": long},
		{"id": "e-1", "step": 9007199254740991, "parent": digest},
		{"id": "e-1", "parent": digest},
	] {
		failures(fixtures.request_with({"execution": execution})) == []
	}
	every changes in [
		{"id": concat("", [long, "e"])}, {"id": 7}, {"id": ["e-1"]}, {"id": null},
		{"step": 0}, {"step": -1}, {"step": 1.5}, {"step": 9007199254740992}, {"step": ""}, {"step": null},
		{"step": concat("", [long, "e"])}, {"step": "a b"}, {"step": "load\n"}, {"step": "ä"},
		{"step": []}, {"step": [1]}, {"step": {}}, {"step": true}, {"step": false},
		{"parent": ""}, {"parent": "e-1"}, {"parent": concat("", [digest, "a"])}, {"parent": upper(digest)},
		{"parent": concat("", [digest, "\n"])}, {"parent": 7}, {"parent": null}, {"parent": [digest]}, {"parent": false},
	] {
		execution := object.union({"id": "e-1"}, changes)
		failures(fixtures.request_with({"execution": execution})) == ["request.malformed"]
	}
}

test_of_a_start_more_may_be_said if {
	refusal := {"code": "warrant.spent", "message": "No uses."}
	every execution in [
		{"id": "e-1"},
		{"id": "e-1", "workflow": "pay"},
		{"id": "e-1", "refused": refusal},
		{"id": "e-1", "workflow": "pay", "refused": refusal},
	] {
		request.failures == [] with input as fixtures.request_with({"execution": execution})
			with data.placet.execution.starting as true
	}
	every execution in [
		{"id": "e-1", "workflow": 1},
		{"id": "e-1", "workflow": null},
		{"workflow": "pay"},
		{"id": "e-1", "refused": null},
		{"id": "e-1", "refused": {}},
		{"id": "e-1", "refused": {"code": "warrant.spent"}},
		{"id": "e-1", "refused": {"code": "warrant.spent", "message": 1}},
		{"id": "e-1", "refused": object.union(refusal, {"more": 1})},
		{"id": "e-1", "other": refusal},
	] {
		request.failures == ["request.malformed"] with input as fixtures.request_with({"execution": execution})
			with data.placet.execution.starting as true
	}
	failures(fixtures.request_with({"execution": {"id": "e-1", "workflow": "pay"}})) == ["request.malformed"]
	failures(fixtures.request_with({"execution": {"id": "e-1", "refused": refusal}})) == ["request.malformed"]
}

test_no_input if request.failures == ["request.malformed"]

test_malformed if {
	every value in [
		null, true, 7, "text", [],
		{},
		fixtures.request_with({"subject": {"id": "alice"}}),
		fixtures.request_with({"action": "read"}),
		fixtures.request_with({"action": {"name": ""}}),
		fixtures.request_with({"action": {"name": ["read"]}}),
		fixtures.request_with({"resource": {"type": ""}}),
		fixtures.request_with({"resource": {"type": 1}}),
		fixtures.request_with({"resource": {"id": ""}}),
		fixtures.request_with({"resource": {"id": null}}),
		fixtures.request_with({"context": []}),
		fixtures.request_with({"context": null}),
		fixtures.request_with({"warrant": "eyJ"}),
		fixtures.request_with({"proof": null}),
		fixtures.request_with({"proof": ["eyJ"]}),
		fixtures.request_with({"environment": null}),
		fixtures.request_with({"environment": "eyJ"}),
		fixtures.request_with({"environment": {"a": "eyJ"}}),
		fixtures.request_with({"environment": ["a", "b", "c", "d", "e"]}),
		fixtures.request_with({"execution": false}),
		fixtures.request_with({"execution": "e-1"}),
		fixtures.request_with({"execution": {"id": ""}}),
		object.remove(fixtures.request, ["action"]),
		object.remove(fixtures.request, ["resource"]),
	] {
		failures(value) == ["request.malformed"]
	}
}
