# The decision: every check of the library, then the user's policy. Doubt means deny, with a named reason.
#
# Each check has `failures`, which is empty only where everything was shown to hold; its default is a reason code.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet

import data.placet.calm
import data.placet.environment
import data.placet.execution
import data.placet.identity
import data.placet.lease
import data.placet.mode
import data.placet.policy
import data.placet.quarantine
import data.placet.reasons as table
import data.placet.refusal
import data.placet.request
import data.placet.segment
import data.placet.state
import data.placet.usual
import data.placet.warrant
import data.placet.workflow

# The verified subject, for user policies: `{id, issuer, domain, claims, actors}`, and `asserted` and `via` where they
# hold. Undefined when there is none.
subject := caller if {
	caller := calm.grounds.caller
} else := identity.subject

# (In patterns, a name of a rule of this package would mean the rule.)
decision := {
	"allow": true,
	"reasons": said,
	"obligations": owed,
	"bundles": data.placet_glue.bundles,
	"subject": who,
	"warrant": by,
	"execution": within,
	"mode": null,
	"state": data.placet_state.digest,
	"expires_at": time.format(floor(until)),
} if {
	{"caller": _, "subject": who, "warrant": by, "execution": within, "until_ns": until} = sound
	{"allow": true, "reasons": said, "obligations": owed} = policy.answer
} else := {
	"allow": false,
	"reasons": array.concat([table.reasons["policy.denied"]], answer.reasons),
	"obligations": answer.obligations,
	"bundles": data.placet_glue.bundles,
	"subject": grounds.subject,
	"warrant": grounds.warrant,
	"execution": grounds.execution,
	"mode": null,
	"state": data.placet_state.digest,
	"expires_at": null,
} if {
	grounds := sound
	answer := policy.answer
	answer.allow == false
	data.placet_state.trust.modes == {"shadow": [], "break_glass": []}
} else := {
	"allow": false,
	"reasons": [table.reasons[code] | some code in refused.codes],
	"obligations": [],
	"bundles": data.placet_glue.bundles,
	"subject": refused.subject,
	"warrant": refused.warrant,
	"execution": refused.execution,
	"mode": null,
	"state": data.placet_state.digest,
	"expires_at": null,
} if {
	refused := refusal.found
} else := {
	"allow": true,
	"reasons": [],
	"obligations": remaining,
	"bundles": data.placet_glue.bundles,
	"subject": asker,
	"warrant": warranted,
	"execution": running,
	"mode": {"kind": lifted.kind, "id": lifted.id, "reasons": stated},
	"state": data.placet_state.digest,
	"expires_at": time.format(floor(min(array.concat(ends, [lifted.until_ns])))),
} if {
	lifted := lifting
} else := {
	"allow": false,
	"reasons": stated,
	"obligations": duties,
	"bundles": bundles,
	"subject": asker,
	"warrant": warranted,
	"execution": running,
	"mode": null,
	"state": state.digest,
	"expires_at": null,
}

# What a request rests on that stands, so that the policy may be asked about it. Undefined for others.
sound := grounds if {
	grounds := usual.grounds
} else := checked if {
	not refusal.found
}

# The same for any request, by the checks themselves.
checked := {
	"caller": subject,
	"subject": asker,
	"warrant": warranted,
	"execution": running,
	"until_ns": min(ends),
} if {
	flawless
}

flawless if {
	failed == []
	subject
}

# What failed of the library's own checks, in the order of the table. Without trust state nothing else can be judged.
failed := state.failures if {
	state.failures != []
} else := array.flatten([
	lease.failures,
	request.failures,
	identity.failures,
	quarantine.failures,
	execution.failures,
	warrant.failures,
	environment.failures,
	[code | subject; some code in segment.failures], # nobody is in no segment
	workflow.failures,
])

# Everything that failed. The user's policy is asked only about a request that stands, or that a mode lets through, so
# that an unverified caller cannot drive its rules.
default failures := ["state.malformed"]

failures := policy.failures if {
	sound
} else := array.concat(failed, policy.failures) if {
	released
} else := failed if {
	failed != []
}

stated := array.concat([table.reasons[code] | some code in failures], remarks)

default remarks := []

remarks := policy.reasons if asked

default duties := []

duties := policy.obligations if asked

# What a lifted denial of the policy demanded is lifted with it.
default remaining := []

remaining := policy.obligations if policy.failures == []

asked if {
	sound
} else if {
	released
}

# The mode that lets a request through which is not allowed: in shadow, whatever the policy says; behind broken glass,
# also what the listed subjects, actions and resources lack. Neither lifts what says who asks and whether this sidecar
# is to be trusted.
lifting := {"kind": "shadow", "id": mode.shadow.id, "until_ns": mode.shadow.until_ns} if {
	sound
} else := {"kind": "break-glass", "id": mode.break_glass.id, "until_ns": mode.break_glass.until_ns} if {
	asked
}

released if {
	mode.break_glass.id
	subject
	every code in failed {
		liftable(code)
	}
}

liftable(code) if {
	strings.any_prefix_match(code, ["warrant.", "environment.", "segment."])
} else if {
	code == "execution.scope"
}

# The digests of what decided, as the glue names them.
default bundles := {}

bundles := data.placet_glue.bundles

default asker := null

asker := object.filter(subject, ["issuer", "id", "domain", "actors", "asserted", "via"])

# The chain of warrants that the request rests on, or rested on when its execution started.
default warranted := null

warranted := {"ids": execution.token.warrants, "issuer": execution.token.warrant_issuer} if {
	execution.token.warrants != []
} else := {"ids": warrant.granted.ids, "issuer": warrant.granted.issuer} if {
	not execution.inside
}

# The execution that the request is part of: its token says so, or it is about to start. Who only names one is not.
default running := null

running := execution.token.exe if {
	execution.token.exe == input.execution.id
} else := input.execution.id if {
	execution.starting
	is_string(input.execution.id)
}

# Until when an "allow" holds if nothing else changes, in nanoseconds: all of these.
ends := [end |
	some end in [
		data.placet_state.lease.valid_until_ns,
		identity.expires_at_ns,
		nanoseconds(warrant.expires_at),
		nanoseconds(environment.expires_at),
	]
	end != null
]

nanoseconds(seconds) := null if {
	seconds == null
} else := seconds * 1000000000
