# The decision: every check of the library, then the user's policy. Doubt means deny, with a named reason.
#
# Each check has a `failure` that is null only where everything was shown to hold; its default is a reason code.
package placet

import data.placet.clock
import data.placet.identity
import data.placet.lease
import data.placet.policy
import data.placet.quarantine
import data.placet.reasons as table
import data.placet.request
import data.placet.state

# The verified subject, for user policies: `{id, issuer, claims}`. Undefined when there is none.
subject := identity.subject

decision := {
	"allow": true,
	"reasons": answer.reasons,
	"obligations": answer.obligations,
	"bundles": data.placet_glue.bundles,
	"subject": {"issuer": subject.issuer, "id": subject.id},
	"state": data.placet_state.digest,
	"expires_at": expires_at,
} if {
	sound
	answer := policy.answer
	answer.allow == true
} else := {
	"allow": false,
	"reasons": array.concat([table.reasons[code] | some code in failures], stated),
	"obligations": obligations,
	"bundles": bundles,
	"subject": asker,
	"state": state.digest,
	"expires_at": null,
}

# Whether the request stands, so that the policy may be asked about it.
#
# First the usual request, in as few expressions as will do: each costs every decision about a microsecond. Whatever
# does not pass there goes through the checks themselves; the tests show that nothing else passes.
sound if {
	is_string(data.placet_state.digest)

	# Subtraction is defined for numbers alone, so these are numbers, and the comparisons mean what they say.
	lease := data.placet_state.lease
	lease.valid_until_ns - lease.issued_at_ns <= 3600000000000
	now := clock.now
	lease.issued_at_ns <= now
	now <= lease.valid_until_ns

	# Identity, action, resource and context, and no more; `concat` is defined for strings alone.
	count(input) == 4
	is_object(input.context)
	names := [input.action.name, input.resource.type, input.resource.id]
	concat("", names)
	min(names) != ""

	# Nobody of this issuer is quarantined. `object.get` is defined for objects alone.
	object.get(data.placet_state.trust.quarantine.subjects, subject.issuer, {}) == {}
} else if {
	flawless
}

flawless if {
	state.failure == null
	lease.failure == null
	request.failure == null
	identity.failure == null
	quarantine.failure == null
}

# In the fixed order of the table. Without trust state nothing else can be judged; and the user's policy is asked
# only about a request that stands, so that an unverified caller cannot drive its rules.
failures := [policy.failure] if {
	sound
} else := [state.failure] if {
	state.failure != null
} else := [code |
	some code in [lease.failure, request.failure, identity.failure, quarantine.failure]
	code != null
]

default stated := []

stated := policy.reasons if sound

default obligations := []

obligations := policy.obligations if sound

# The digests of what decided, as the glue names them.
default bundles := {}

bundles := data.placet_glue.bundles

default asker := null

asker := {"issuer": subject.issuer, "id": subject.id}

# Until when an "allow" holds if nothing else changes: the lease or the token, whichever ends first.
expires_at := time.format(min([
	data.placet_state.lease.valid_until_ns,
	floor(subject.claims.exp) * 1000000000,
]))
