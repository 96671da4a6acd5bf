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

# The usual requests: one token, of an identity or of an execution, verified in one call, and no other token anywhere.
# Only two members change.
# (`sprintf` gives the text of a value in half the time of `json.marshal`, and leaves `eyJ` in it as it is.)
mask := [
	{"op": "upsert", "path": "/input/identity", "value": {"token": concat(":", ["sha256", crypto.sha256(token)])}},
	{"op": "upsert", "path": "/nd_builtin_cache/io.jwt.decode_verify", "value": {crypto.sha256(operands): verified}},
] if {
	token := input.input.identity.token
	count(input.input.identity) == 1
	count(input.nd_builtin_cache) == 2
	input.nd_builtin_cache["time.now_ns"]
	calls := input.nd_builtin_cache["io.jwt.decode_verify"]
	count(calls) == 1 # or the mask would have two values, which OPA answers by recording nothing
	some operands, verified in calls
	object.filter(input.input, ["warrant", "proof", "environment", "execution"]) == {}
	not contains(sprintf("%v", [[object.remove(input.input, ["identity"]), input.result, verified]]), "eyJ")
} else := [
	{
		"op": "upsert",
		"path": "/input/execution",
		"value": {"id": execution.id, "token": concat(":", ["sha256", crypto.sha256(execution.token)])},
	},
	{"op": "upsert", "path": "/nd_builtin_cache/io.jwt.decode_verify", "value": {crypto.sha256(operands): verified}},
] if {
	execution := input.input.execution
	count(execution) == 2
	count(input.nd_builtin_cache) == 2
	input.nd_builtin_cache["time.now_ns"]
	calls := input.nd_builtin_cache["io.jwt.decode_verify"]
	count(calls) == 1
	some operands, verified in calls
	object.filter(input.input, ["warrant", "proof", "environment", "identity"]) == {}
	elsewhere := [object.remove(input.input, ["execution"]), execution.id, input.result, verified]
	not contains(sprintf("%v", [elsewhere]), "eyJ")
} else := array.concat(
	# Several tokens, each in its place.
	[{"op": "upsert", "path": "/nd_builtin_cache/io.jwt.decode_verify", "value": hashed_calls}],
	[{"op": "upsert", "path": concat("/", ["/input", member]), "value": value} | some member, value in digests],
) if {
	is_object(input.input)
	is_object(input.nd_builtin_cache["io.jwt.decode_verify"])
	elsewhere := [
		object.remove(input.input, object.keys(digests)),
		digests,
		hashed_calls,
		object.remove(input.nd_builtin_cache, ["io.jwt.decode_verify"]),
		object.get(input, "result", null),
	]
	not contains(sprintf("%v", [elsewhere]), "eyJ")
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

# The input with digests in the places for tokens, whatever stands there.
default masked_input := null

masked_input := object.union(object.remove(input.input, object.keys(digests)), digests) if {
	is_object(input.input)
} else := input.input

# Certificates and the name of an asserted subject stay: they are no secrets, and replay needs them.
digests["identity"] := object.union(
	{"token": digest(object.get({"is": identity}, ["is", "token"], identity))},
	{member: shown(member, value) | some member, value in object.filter(identity, ["asserted", "certificate"])},
) if {
	identity := input.input.identity
}

digests["execution"] := object.union(
	object.remove(execution, ["token"]),
	{"token": digest(execution.token)},
) if {
	execution := input.input.execution
}

digests[member] := [digest(token) | some token in at_most_ten(tokens)] if {
	some member in ["warrant", "environment"]
	tokens := input.input[member]
}

digests["proof"] := digest(input.input.proof)

shown("asserted", value) := value

shown("certificate", chain) := [certificate(pem) | some pem in at_most_ten(chain)]

# A digest is longer than what a caller can repeat, so the rest of a long list, which no check lets pass, shares one.
at_most_ten(list) := list if {
	is_array(list)
	count(list) <= 9
} else := array.concat(array.slice(list, 0, 9), [array.slice(list, 9, count(list))]) if {
	is_array(list)
} else := [list]

# A key that somebody sent in the place of a certificate is not shown.
certificate(pem) := pem if {
	startswith(pem, "-----BEGIN CERTIFICATE-----")
	count(split(pem, "-----BEGIN")) == 2
} else := digest(pem)

digest(value) := concat(":", ["sha256", crypto.sha256(value)]) if {
	is_string(value)
} else := concat(":", ["sha256", crypto.sha256(json.marshal(value))])

# A token elsewhere, such as in the context, is cut out of the text of the whole. Every JWT begins with the
# base64url of `{"`.
without_tokens(value) := json.unmarshal(regex.replace(
	escaped(json.marshal(value)),
	`eyJ[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){2,4}`,
	"(token cut)",
))

# The same JSON, in which no escape ends with the `e` that a token begins with: to cut that off would leave no JSON.
# Backslashes first, so that what follows one is an escape.
escaped(text) := capitals if {
	single := replace(text, `\\`, `\u005c`)
	capitals := replace(replace(replace(single, `\u000e`, `\u000E`), `\u001e`, `\u001E`), `\u003e`, `\u003E`)
}
