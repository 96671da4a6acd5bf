# The lease: the short-lived permission of the agent, without which every decision is a denial. An agent that
# died or hangs renews nothing, so OPA denies by itself.
package placet.lease

import data.placet.clock

# How far in the future a lease may have been issued: the difference of two clock readings on one host.
skew_ns := 2000000000

# The longest lease that is taken for one: an agent that wrote more made an error. One hour.
longest_ns := 3600000000000

issued_at := data.placet_state.lease.issued_at_ns

valid_until := data.placet_state.lease.valid_until_ns

# The reason code of the failure, or null while the lease is current.
default failure := "lease.malformed"

failure := null if {
	well_formed
	not_early
	clock.now <= valid_until
} else := "lease.missing" if {
	not data.placet_state.lease
} else := "lease.future" if {
	well_formed
	not not_early
} else := "lease.expired" if {
	well_formed
	clock.now > valid_until
}

# Order is defined across types (`null <= 1` is true), so both sides must be known to be numbers.
well_formed if {
	is_number(issued_at)
	is_number(valid_until)
	issued_at <= valid_until
	valid_until - issued_at <= longest_ns
}

# A clock that was set back would otherwise extend every lease.
not_early if issued_at - skew_ns <= clock.now
