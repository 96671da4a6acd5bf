package placet.workflow_test

import data.placet
import data.placet.fixtures_test as fixtures
import data.placet.workflow

declared := {
	"pay": {"declared": "sha256:aa", "actions": ["refund", "pay*"], "resources": ["payment/*"]},
	"check": {"declared": "sha256:bb", "actions": ["refund"], "resources": ["payment/p-1"]},
	"free": {"declared": "sha256:cc", "actions": [], "resources": []},
}

asked(action, type, id) := {"action": {"name": action}, "resource": {"type": type, "id": id}}

failures(workflows, request) := found if {
	found := workflow.failures with data.placet_state as {"trust": {"workflows": workflows}}
		with input as request
}

following(request, name) := found if {
	found := workflow.failures with data.placet_state as {"trust": {"workflows": declared}}
		with input as request
		with data.placet.execution.token as {"workflow": name}
}

starting(request) := found if {
	found := workflow.failures with data.placet_state as {"trust": {"workflows": declared}}
		with input as request
		with data.placet.execution.starting as true
}

test_nothing_is_demanded if {
	every workflows in [{}, {"free": declared.free}] {
		failures(workflows, asked("refund", "payment", "p-1")) == []
	}
	every request in [asked("read", "payment", "p-1"), asked("refund", "account", "p-1")] {
		failures(declared, request) == []
	}
}

test_something_is_demanded if {
	every request in [
		asked("refund", "payment", "p-1"),
		asked("pay-out", "payment", "p-2"),
		asked("refund", "account/payment", "p-1"), # what could be read in two ways
	] {
		failures(declared, request) == ["workflow.required"]
	}
}

test_one_that_may_is_followed if {
	every name in ["pay", "check"] {
		following(asked("refund", "payment", "p-1"), name) == []
		starting(object.union(asked("refund", "payment", "p-1"), {"execution": {"workflow": name}})) == []
	}
}

test_another_is_followed if {
	every name in ["free", "unknown", "", null, 1, ["pay"]] {
		following(asked("refund", "payment", "p-1"), name) == ["workflow.required"]
		starting(object.union(asked("refund", "payment", "p-1"), {"execution": {"workflow": name}})) == ["workflow.required"]
	}
	following(asked("refund", "payment", "p-2"), "check") == ["workflow.required"]
}

# Who is not about to start says it by a token alone.
test_a_claim_of_the_input_counts_for_nothing if {
	request := object.union(asked("refund", "payment", "p-1"), {"execution": {"id": "e-1", "workflow": "pay"}})
	failures(declared, request) == ["workflow.required"]
}

test_what_is_of_another_form_demands if {
	every workflows in [null, [], "", {"pay": {}}, {"pay": {"actions": "refund", "resources": ["payment/*"]}}, {"pay": null}] {
		failures(workflows, asked("read", "account", "p-1")) == ["workflow.required"]
	}
	workflow.failures == ["workflow.required"] with data.placet_state as {"trust": {}}
		with input as asked("read", "payment", "p-1")
	every request in [{}, asked(1, "payment", "p-1"), asked("read", null, "p-1"), asked("read", "payment", [])] {
		failures(declared, request) == ["workflow.required"]
	}
}

state := object.union(fixtures.state, {"trust": object.union(fixtures.state.trust, {"workflows": declared})})

decided(request) := found if {
	found := placet.decision with data.placet_state as state
		with input as request
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
}

refund := {"action": {"name": "refund"}, "resource": {"type": "payment", "id": "p-1"}, "context": {}}

test_decisions if {
	outside := decided(object.union(fixtures.request_with({"context": {}}), refund))
	[outside.allow, outside.reasons[0].code] == [false, "workflow.required"]
	decided(fixtures.request_with({"context": {}})).allow == true
	within := {"execution": {"id": "e-1", "token": fixtures.sign_execution({"workflow": "pay"})}}
	decided(object.union(refund, within)).allow == true
	every claims in [{}, {"workflow": "free"}] {
		without := {"execution": {"id": "e-1", "token": fixtures.sign_execution(claims)}}
		denied := decided(object.union(refund, without))
		[denied.allow, denied.reasons[0].code, count(denied.reasons)] == [false, "workflow.required", 1]
	}
	elsewhere := {"execution": {"id": "e-2", "token": fixtures.sign_execution({"workflow": "pay"})}}
	[reason.code | some reason in decided(object.union(refund, elsewhere)).reasons] == ["execution.mismatch"]
}

test_starts if {
	request := object.union(fixtures.request_with({"context": {}}), refund)
	started := placet.start with data.placet_state as state
		with input as object.union(request, {"execution": {"id": "e-1", "workflow": "pay"}})
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
	started.decision.allow == true
	refused := placet.start with data.placet_state as state
		with input as object.union(request, {"execution": {"id": "e-1"}})
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
	[reason.code | some reason in refused.decision.reasons] == ["workflow.required"]
}
