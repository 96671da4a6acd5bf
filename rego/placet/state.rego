# The trust state that the agent writes, whole, at `data.placet_state`. Before the first write it is undefined.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.state

# The digest by which the archived trust state of this decision can be found.
default digest := null

digest := data.placet_state.digest if is_string(data.placet_state.digest)

# The reason codes of what failed, none when the state is there. Nothing else can be judged without it.
default failures := ["state.malformed"]

failures := [] if {
	is_string(data.placet_state.digest)
	is_object(data.placet_state.trust)
} else := ["state.missing"] if {
	not data.placet_state
}

# Whether subjects and warrants of this trust domain are taken at all: it is the home domain, or linked.
domain_linked(domain) if {
	domain == data.placet_state.trust.domain
} else if {
	data.placet_state.trust.links[domain] == true
}
