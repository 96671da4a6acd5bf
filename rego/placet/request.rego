# What is asked: action, resource and context as in AuthZEN 1.0, and what may stand beside them.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.request

import data.placet.execution as starting

# The reason codes of what failed, none when the request is well formed.
default failures := ["request.malformed"]

failures := [] if {
	# A member that Placet does not know could be a misspelt one, and must not be ignored in silence.
	rare_well_formed(object.remove(input, ["identity", "action", "resource", "context"]))

	# `concat` is defined for strings alone.
	names := [input.action.name, input.resource.type, input.resource.id]
	concat("", names)
	not "" in names
	is_object(object.get(input, "context", {}))
}

rare_well_formed(rare) if {
	rare == {}
} else if {
	object.remove(rare, ["warrant", "proof", "environment", "execution"]) == {}
	is_array(object.get(rare, "warrant", []))
	is_string(object.get(rare, "proof", ""))
	results := object.get(rare, "environment", [])
	is_array(results)
	count(results) <= 4
	execution := object.get(rare, "execution", {"id": "none"})
	object.remove(execution, ["id", "token", "step", "parent"]) == told(execution)
	is_string(execution.id)
	execution.id != ""
	count(execution.id) <= 64
	every member, value in object.filter(execution, ["step", "parent"]) {
		place(member, value)
	}
}

# Where in its execution the request stands: at a step of this name or number, after the link with this digest.
place("step", name) if regex.match(`^[A-Za-z0-9._-]{1,64}$`, name)

place("step", number) if {
	is_number(number)
	number >= 1

	# `floor` of a number with a huge exponent would fill the memory.
	number <= 9007199254740991
	floor(number) == number
}

place("parent", digest) if regex.match(`^sha256:[0-9a-f]{64}$`, digest)

# What the agent alone can say of an execution that is about to start: the workflow that it names, and why it does not
# start after all.
told(execution) := {} if {
	not starting.starting
} else := said if {
	said := object.filter(execution, ["workflow", "refused"])
	is_string(object.get(said, "workflow", ""))
	refusal_well_formed(object.get(said, "refused", {"code": "", "message": ""}))
} else := {}

refusal_well_formed(refusal) if {
	refusal == {"code": refusal.code, "message": refusal.message}
	concat("", [refusal.code, refusal.message])
}
