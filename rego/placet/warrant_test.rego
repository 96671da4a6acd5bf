package placet.warrant_test

import data.placet.warrant
import data.placet.warrant_fixtures_test as fixtures

failures(chain, subject) := codes if {
	codes := warrant.failures with input as object.union(fixtures.request, {"warrant": chain})
		with data.placet_state as fixtures.state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
}

test_one_warrant_authorizes if {
	failures([fixtures.root], fixtures.alice) == []
}

test_three_hops_authorize if {
	failures(fixtures.chain, fixtures.tool) == []
}
