# Who may use OPA's API: anyone may ask for a decision; everything else is for the agent.
#
# A template: the agent writes it anew for each OPA that it starts, with AGENT_TOKEN_SHA256 replaced by the
# lower-case hexadecimal SHA-256 of its token, to a file of mode 0600 that it names on OPA's command line. As it
# stands here it admits nobody but to the decision.
package system.authz

default allow := false

# No parameters: `?explain=full` would show trust state to anyone. No YAML, which OPA would take too, and expand its
# aliases: a small body could leave a record of any size.
allow if {
	input.path == ["v1", "data", "placet", "decision"]
	input.method == "POST"
	input.params == {}
	contains(lower(concat(" ", object.get(input, ["headers", "Content-Type"], []))), "yaml") == false
}

allow if crypto.sha256(input.identity) == "AGENT_TOKEN_SHA256"
