# What is asked: action, resource and context as in AuthZEN 1.0. A member that Placet does not know is refused,
# so that a misspelt one is not silently ignored.
package placet.request

members := ["identity", "warrant", "action", "resource", "context", "execution"]

# The reason code of the failure, or null when the request is well formed.
default failure := "request.malformed"

failure := null if {
	object.remove(input, members) == {}
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
