# How the tests of warrants have chains judged.
package placet.warrant_judge_test

import data.placet.warrant
import data.placet.warrant_fixtures_test as fixtures

failures_in(state, request, subject) := codes if {
	codes := warrant.failures with input as request
		with data.placet_state as state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
}

# The same, without the short way.
long_failures_in(state, request, subject) := codes if {
	codes := warrant.failures with input as request
		with data.placet_state as state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
		with data.placet.single.warrant as false
}

failures(chain, subject) := failures_in(fixtures.state, fixtures.request_with(chain), subject)

# Of a root alone, which the short way must judge as the long one does.
of_root(token) := codes if {
	codes := failures([token], fixtures.alice)
	codes == long_failures_in(fixtures.state, fixtures.request_with([token]), fixtures.alice)
}

root_with(changes) := of_root(fixtures.root_with(changes))

# Of the chain of three with one hop changed.
of_hops(second, third) := failures([fixtures.first, second, third], fixtures.tool)
