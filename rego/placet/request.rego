# What is asked: action, resource and context as in AuthZEN 1.0.
package placet.request

# The reason code of the failure, or null when the request is well formed.
default failure := "request.malformed"

failure := null if {
	# A member that Placet does not know could be a misspelt one, and must not be ignored in silence.
	rare := object.remove(input, ["identity", "action", "resource", "context"])
	rare_well_formed(rare)

	# `concat` is defined for strings alone.
	names := [input.action.name, input.resource.type, input.resource.id]
	concat("", names)
	not "" in names
	is_object(object.get(input, "context", {}))
}

rare_well_formed(rare) if {
	rare == {}
} else if {
	object.remove(rare, ["warrant", "execution"]) == {}
	is_array(object.get(rare, "warrant", []))
	execution := object.get(rare, "execution", {"id": "none"})
	is_string(execution.id)
	execution.id != ""
}
