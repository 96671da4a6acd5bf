# What is asked: action, resource and context as in AuthZEN 1.0.
package placet.request

# The reason code of the failure, or null when the request is well formed.
default failure := "request.malformed"

failure := null if {
	# A member that Placet does not know could be a misspelt one, and must not be ignored in silence.
	object.remove(input, ["identity", "warrant", "action", "resource", "context", "execution"]) == {}
	named(input.action.name)
	named(input.resource.type)
	named(input.resource.id)
	is_object(object.get(input, "context", {}))
	is_array(object.get(input, "warrant", []))
	execution := object.get(input, "execution", {"id": "none"})
	named(execution.id)
}

named(text) if {
	is_string(text)
	text != ""
}
