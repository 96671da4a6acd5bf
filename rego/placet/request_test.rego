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
		{"resource": {"properties": {"owner": "bob"}}},
	] {
		failures(fixtures.request_with(changes)) == []
	}
}

test_a_start_names_its_workflow if {
	every execution in [{"id": "e-1"}, {"id": "e-1", "workflow": "pay"}] {
		request.failures == [] with input as fixtures.request_with({"execution": execution})
			with data.placet.execution.starting as true
	}
	every execution in [{"id": "e-1", "workflow": 1}, {"id": "e-1", "workflow": null}, {"workflow": "pay"}] {
		request.failures == ["request.malformed"] with input as fixtures.request_with({"execution": execution})
			with data.placet.execution.starting as true
	}
	failures(fixtures.request_with({"execution": {"id": "e-1", "workflow": "pay"}})) == ["request.malformed"]
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
		fixtures.request_with({"execution": false}),
		fixtures.request_with({"execution": "e-1"}),
		fixtures.request_with({"execution": {"id": ""}}),
		object.remove(fixtures.request, ["action"]),
		object.remove(fixtures.request, ["resource"]),
	] {
		failures(value) == ["request.malformed"]
	}
}
