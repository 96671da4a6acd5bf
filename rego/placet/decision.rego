# The decision: every check of the library, then the user's policy. Doubt means deny, with a named reason.
#
# Each check has a `failure` that is null only where everything was shown to hold; its default is a reason code.
package placet

import data.placet.identity
import data.placet.lease
import data.placet.policy
import data.placet.quarantine
import data.placet.reasons as table
import data.placet.request
import data.placet.state

decision := {
	"allow": allow,
	"reasons": array.concat([table.reasons[code] | some code in failures], stated),
	"obligations": obligations,
	"bundles": bundles,
	"subject": asker,
	"state": state.digest,
	"expires_at": expires_at,
}

# The verified subject, for user policies: `{id, issuer, claims}`, or null.
subject := identity.subject

# In the fixed order of the table. Without trust state nothing else can be judged.
checks := [state.failure] if {
	state.failure != null
} else := [
	state.failure,
	lease.failure,
	request.failure,
	identity.failure,
	quarantine.failure,
]

default sound := false

sound if checks == [null, null, null, null, null]

# The user's policy is asked only about a request that stands: an unverified caller cannot drive its rules.
failures := [policy.failure | policy.failure != null] if {
	sound
} else := [code | some code in checks; code != null]

default allow := false

allow if {
	sound
	policy.failure == null
}

default stated := []

stated := policy.reasons if sound

default obligations := []

obligations := policy.obligations if sound

# The digests of what decided, as the glue names them.
default bundles := {}

bundles := data.placet_glue.bundles

default asker := null

asker := {"issuer": subject.issuer, "id": subject.id} if subject != null

# Until when this "allow" holds if nothing else changes: the lease or the token, whichever ends first.
default expires_at := null

expires_at := time.format(min([lease.valid_until, floor(subject.claims.exp) * 1000000000])) if allow
