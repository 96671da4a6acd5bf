# What the user's policy says. Its entrypoint is a boolean, or an object
# `{allow: bool, reasons?: [{code, message}], obligations?: [object]}`; every other answer denies.
#
# The value comes through `data.placet_glue`, a module that is made for each bundle, because Rego cannot call a
# package whose name is data.
package placet.policy

# The most reasons, and the most obligations, that an answer may hold.
most := 32

longest_code := 128

longest_message := 1024

# One element, or none when the entrypoint is undefined.
answers := [answer | answer := data.placet_glue.value]

# The reason code of the failure, or null only when the policy says exactly `true`.
default failure := "policy.malformed"

failure := null if {
	well_formed
	allow == true
} else := "policy.undefined" if {
	answers == []
} else := "policy.denied" if {
	well_formed
	allow == false
}

default allow := null

allow := answers[0] if is_boolean(answers[0])

allow := answers[0].allow if is_boolean(answers[0].allow)

well_formed if is_boolean(answers[0])

# A member beyond these could be a misspelt obligation or a denial in other words.
well_formed if {
	answer := answers[0]
	object.remove(answer, ["allow", "reasons", "obligations"]) == {}
	is_boolean(answer.allow)
	are_reasons(object.get(answer, "reasons", []))
	are_obligations(object.get(answer, "obligations", []))
}

# The policy's own reasons. Their codes get a prefix that no code of the library has.
default reasons := []

reasons := [{"code": concat(":", ["policy", reason.code]), "message": reason.message} |
	some reason in answers[0].reasons
] if {
	well_formed
}

default obligations := []

obligations := [obligation | some obligation in answers[0].obligations] if well_formed

are_reasons(reasons) if {
	is_list(reasons)
	every reason in reasons {
		object.keys(reason) == {"code", "message"}
		is_string(reason.code)
		reason.code != ""
		count(reason.code) <= longest_code
		is_string(reason.message)
		count(reason.message) <= longest_message
	}
}

are_obligations(obligations) if {
	is_list(obligations)
	every obligation in obligations {
		is_object(obligation)
	}
}

# `reasons contains …` makes a set, which is as good: sets iterate in a fixed order.
is_list(value) if {
	is_array(value)
	count(value) <= most
}

is_list(value) if {
	is_set(value)
	count(value) <= most
}
