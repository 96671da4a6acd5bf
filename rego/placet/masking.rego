# What OPA's decision log leaves out: tokens. Records keep a SHA-256 in the place of each.
#
# OPA treats an error here badly: after a conflict or an ill-formed operation it answers and records nothing, and
# when `mask` is undefined it records the tokens. So `mask` has a default, and no two rules give one value.
package placet_log

# Every decision is recorded.
drop := false

default mask := [
	{"op": "upsert", "path": "/input", "value": "(could not be masked)"},
	{"op": "upsert", "path": "/nd_builtin_cache", "value": {}},
	{"op": "upsert", "path": "/result", "value": "(could not be masked)"},
]

# The usual request: one identity token, verified in one call, and no other token anywhere. Only two members change.
# (`sprintf` gives the text of a value in half the time of `json.marshal`, and leaves `eyJ` in it as it is.)
mask := [
	{"op": "upsert", "path": "/input/identity", "value": {"token": concat(":", ["sha256", crypto.sha256(token)])}},
	{"op": "upsert", "path": "/nd_builtin_cache/io.jwt.decode_verify", "value": {crypto.sha256(operands): verified}},
] if {
	token := input.input.identity.token
	count(input.nd_builtin_cache) == 2
	input.nd_builtin_cache["time.now_ns"]
	calls := input.nd_builtin_cache["io.jwt.decode_verify"]
	count(calls) == 1 # or the mask would have two values, which OPA answers by recording nothing
	some operands, verified in calls
	not input.input.warrant
	not contains(sprintf("%v", [[object.remove(input.input, ["identity"]), input.result]]), "eyJ")
} else := [
	# Everything else: the parts are replaced whole, which OPA can do whatever their type is.
	{"op": "upsert", "path": "/input", "value": without_tokens(masked_input)},
	{"op": "upsert", "path": "/nd_builtin_cache", "value": without_tokens(masked_calls)},
	{"op": "upsert", "path": "/result", "value": without_tokens(object.get(input, "result", null))},
]

# Calls of `io.jwt.decode_verify` are filed under their operands, one of which is the token.
hashed_calls := {crypto.sha256(operands): result |
	some operands, result in input.nd_builtin_cache["io.jwt.decode_verify"]
}

masked_calls := object.union(
	object.remove(input.nd_builtin_cache, ["io.jwt.decode_verify"]),
	{"io.jwt.decode_verify": hashed_calls},
)

# The input with digests in the two places for tokens, whatever stands there.
default masked_input := null

masked_input := object.union(object.remove(input.input, ["identity", "warrant"]), digests) if {
	is_object(input.input)
} else := input.input

digests["identity"] := {"token": digest(object.get({"is": identity}, ["is", "token"], identity))} if {
	identity := input.input.identity
}

digests["warrant"] := [digest(warrant) | some warrant in warrants] if {
	warrants := input.input.warrant
}

digest(value) := concat(":", ["sha256", crypto.sha256(value)]) if {
	is_string(value)
} else := concat(":", ["sha256", crypto.sha256(json.marshal(value))])

# A token elsewhere, such as in the context, is cut out of the text of the whole. Every JWT begins with the
# base64url of `{"`.
without_tokens(value) := json.unmarshal(regex.replace(
	json.marshal(value),
	`eyJ[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){2,4}`,
	"(token cut)",
))
