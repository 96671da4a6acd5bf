# What OPA's decision log leaves out: tokens. Records keep a digest in the place of each.
#
# OPA treats an error here badly: after a conflict or an ill-formed operation it answers and records nothing; when
# `mask` is undefined it records the tokens. So every rule has a default, no two rules give one value, and whole
# parts are replaced, which OPA can do whatever their type is.
package placet_log

# Every decision is recorded.
drop := false

default mask := [
	{"op": "upsert", "path": "/input", "value": "cut: could not be masked"},
	{"op": "upsert", "path": "/nd_builtin_cache", "value": {}},
	{"op": "upsert", "path": "/result", "value": "cut: could not be masked"},
]

mask := array.concat(
	[
		{"op": "upsert", "path": "/input", "value": without_tokens(asked)},
		{"op": "upsert", "path": "/nd_builtin_cache", "value": without_tokens(calls)},
	],
	[{"op": "upsert", "path": "/result", "value": without_tokens(input.result)} |
		holds_token(json.marshal(input.result))
	],
)

# The input with digests where tokens are expected, whatever stands there.
default asked := null

asked := object.union(object.remove(input.input, ["identity", "warrant"]), {part: cut |
	some part in ["identity", "warrant"]
	cut := digests(part, input.input[part])
})

asked := input.input if not is_object(input.input)

digests("identity", value) := {"token": digest(object.get(value, "token", value))} if is_object(value)

digests("identity", value) := {"token": digest(value)} if not is_object(value)

digests("warrant", value) := [digest(token) | some token in value] if is_array(value)

digests("warrant", value) := digest(value) if not is_array(value)

# Calls of `io.jwt.decode_verify` are filed under their operands, which hold the token.
default calls := {}

calls := object.union(object.remove(input.nd_builtin_cache, [verifying]), {name: hashed |
	some name in [verifying]
	hashed := {crypto.sha256(operands): result | some operands, result in input.nd_builtin_cache[name]}
})

verifying := "io.jwt.decode_verify"

digest(value) := concat(":", ["sha256", crypto.sha256(text(value))])

text(value) := value if is_string(value)

text(value) := json.marshal(value) if not is_string(value)

# A token anywhere else, such as in the context, is cut out of the text of the whole.
without_tokens(value) := value if not holds_token(json.marshal(value))

without_tokens(value) := json.unmarshal(regex.replace(marshalled, token_pattern, "(token cut)")) if {
	marshalled := json.marshal(value)
	holds_token(marshalled)
}

# The base64url of `{"`, with which every JWT begins.
holds_token(marshalled) if contains(marshalled, "eyJ")

token_pattern := `eyJ[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){2,4}`
