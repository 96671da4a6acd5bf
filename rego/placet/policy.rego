# What the user's policy says. Its entrypoint is a boolean, or an object
# `{allow: bool, reasons?: [{code, message}], obligations?: [object]}`; every other answer denies.
#
# The value comes through `data.placet_glue`, a module that is made for each bundle, because Rego cannot call a
# package whose name is data.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.policy

import data.placet.obligation

# The answer in its long form, with the policy's own reasons under codes that no code of the library has.
# Undefined when it is not of the form above.
answer := {"allow": true, "reasons": [], "obligations": []} if {
	# What most answers are: to compare is cheaper than to take apart.
	data.placet_glue.value in {
		true,
		{"allow": true},
		{"allow": true, "reasons": [], "obligations": []},
		{"allow": true, "reasons": set(), "obligations": set()},
	}
} else := {"allow": false, "reasons": [], "obligations": []} if {
	data.placet_glue.value == false
} else := {
	"allow": value.allow,
	"reasons": [{"code": concat(":", ["policy", reason.code]), "message": reason.message} | some reason in reasons_of],
	"obligations": merged,
} if {
	value := data.placet_glue.value

	# A member beyond these could be a misspelt obligation, or a denial in other words.
	object.remove(value, ["allow", "reasons", "obligations"]) == {}
	is_boolean(value.allow)
	reasons_of := object.get(value, "reasons", [])
	obligations_of := object.get(value, "obligations", [])
	reasons_well_formed(reasons_of)
	obligations_well_formed(obligations_of)
	merged := obligation.merged([one | some one in obligations_of])
}

default reasons := []

reasons := answer.reasons

default obligations := []

obligations := answer.obligations

# The reason codes of what failed, none only when the policy says exactly `true`.
default failures := ["policy.malformed"]

failures := [] if {
	answer.allow == true
} else := ["policy.denied"] if {
	answer.allow == false
} else := ["policy.undefined"] if {
	[value | value := data.placet_glue.value] == []
}

reasons_well_formed(reasons) if {
	is_list(reasons)
	every reason in reasons {
		object.keys(reason) == {"code", "message"}
		is_string(reason.code)
		reason.code != ""
		count(reason.code) <= 128
		is_string(reason.message)
		count(reason.message) <= 1024
	}
}

obligations_well_formed(obligations) if {
	is_list(obligations)
	every obligation in obligations {
		is_object(obligation)
	}
}

# `reasons contains …` makes a set, which is as good: sets iterate in a fixed order.
is_list(value) if {
	type_name(value) in {"array", "set"}
	count(value) <= 32
}
