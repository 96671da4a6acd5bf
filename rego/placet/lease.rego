# The lease: the short-lived permission of the agent, without which every decision is a denial. An agent that
# died or hangs renews nothing, so OPA denies by itself.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.lease

import data.placet.clock

# The reason codes of what failed, none while the lease is current.
default failures := ["lease.malformed"]

# Order is defined across types (`null <= 1` is true), so both sides must be known to be numbers.
failures := [] if {
	lease := data.placet_state.lease
	is_number(lease.issued_at_ns)
	is_number(lease.valid_until_ns)

	# A clock that was set back would otherwise extend every lease. Two readings of it may differ by 2 s.
	lease.issued_at_ns - 2000000000 <= clock.now
	clock.now <= lease.valid_until_ns

	# An agent that wrote more than an hour made an error.
	lease.valid_until_ns - lease.issued_at_ns <= 3600000000000
} else := [fault]

# Says what is wrong with a lease that is not current.
fault := "lease.missing" if {
	not data.placet_state.lease
} else := "lease.missing" if {
	data.placet_state.lease == null # the agent took it away
} else := "lease.future" if {
	well_formed
	data.placet_state.lease.issued_at_ns - 2000000000 > clock.now
} else := "lease.expired" if {
	well_formed
	clock.now > data.placet_state.lease.valid_until_ns
}

well_formed if {
	lease := data.placet_state.lease
	is_number(lease.issued_at_ns)
	is_number(lease.valid_until_ns)
	lease.valid_until_ns - lease.issued_at_ns >= 0
	lease.valid_until_ns - lease.issued_at_ns <= 3600000000000
}
