# What OPA's decision log leaves out: signatures, so that no token in a record can be used. What a token says stays, since
# replay needs it: a JWT in its place is recorded with its own SHA-256 where its signature was, anything else there as a
# SHA-256 alone. Of a verification only the outcome stays; what it gave is what the token says.
#
# OPA treats an error here badly: after a conflict or an ill-formed operation it answers and records nothing, and
# when `mask` is undefined it records the tokens. So what `mask` is made of has defaults, and no two rules give one value.

# METADATA
# scope: package
# schemas:
# - data.placet_state: schema.state
package placet_log

# Every decision is recorded.
drop := false

# A system may have more kept back (`masking_rules.rego`). That comes after the signatures, so that nothing which it
# leaves holds one; and as long as its rules are not known, before the first trust state, nothing of a request is kept.
mask := cut if {
	# A set is what no JSON document holds; and `object.get` is defined for objects alone.
	object.get(data.placet_state.trust, "masking", set()) == set()
} else := array.concat(cut, data.placet_log.rules.operations)

default cut := [
	{"op": "upsert", "path": "/input", "value": "(could not be masked)"},
	{"op": "upsert", "path": "/nd_builtin_cache", "value": {}},
	{"op": "upsert", "path": "/result", "value": "(could not be masked)"},
]

# The usual requests: one token, of an identity or of an execution, verified in one call, and no other token anywhere.
# Only two members change.
# (`sprintf` gives the text of a value in half the time of `json.marshal`, and leaves a token in it as it is.)
cut := [
	{"op": "upsert", "path": "/input/identity", "value": {"token": unsigned(token)}},
	{"op": "upsert", "path": "/nd_builtin_cache/io.jwt.decode_verify", "value": {crypto.sha256(token): outcome}},
	{"op": "upsert", "path": "/nd_builtin_cache/placet.lease", "value": {"[]": lease}},
] if {
	token := input.input.identity.token
	count(input.input.identity) == 1
	outcome := only_call(token)
	object.filter(input.input, ["warrant", "proof", "environment", "execution"]) == {}
	not holds_token(sprintf("%v", [[object.remove(input.input, ["identity"]), input.result]]))
} else := [
	{"op": "upsert", "path": "/input/execution", "value": {"id": execution.id, "token": unsigned(execution.token)}},
	{"op": "upsert", "path": "/nd_builtin_cache/io.jwt.decode_verify", "value": {crypto.sha256(execution.token): outcome}},
	{"op": "upsert", "path": "/nd_builtin_cache/placet.lease", "value": {"[]": lease}},
] if {
	execution := input.input.execution
	count(execution) == 2
	outcome := only_call(execution.token)
	object.filter(input.input, ["warrant", "proof", "environment", "identity"]) == {}
	not holds_token(sprintf("%v", [[object.remove(input.input, ["execution"]), execution.id, input.result]]))
} else := array.concat(
	# Several tokens, each in its place, or none that was verified.
	[{"op": "upsert", "path": "/nd_builtin_cache/io.jwt.decode_verify", "value": outcomes} |
		input.nd_builtin_cache["io.jwt.decode_verify"]
	],
	array.concat(
		[{"op": "upsert", "path": "/nd_builtin_cache/placet.lease", "value": {"[]": lease}}],
		[{"op": "upsert", "path": concat("/", ["/input", member]), "value": value} | some member, value in shown],
	),
) if {
	is_object(input.input)
	elsewhere := [
		object.remove(input.input, object.keys(shown)),
		[object.remove(value, ["token"]) | some value in object.filter(shown, ["identity", "execution"])],
		object.remove(input.nd_builtin_cache, ["io.jwt.decode_verify"]),
		object.get(input, "result", null),
	]
	not holds_token(sprintf("%v", [elsewhere]))
} else := [
	# Everything else: the parts are replaced whole, which OPA can do whatever their type is.
	{"op": "upsert", "path": "/input", "value": cut_input},
	{"op": "upsert", "path": "/nd_builtin_cache", "value": object.union(
		without_tokens(object.remove(input.nd_builtin_cache, ["io.jwt.decode_verify"])),
		{"io.jwt.decode_verify": outcomes, "placet.lease": {"[]": lease}},
	)},
	{"op": "upsert", "path": "/result", "value": without_tokens(object.get(input, "result", null))},
]

# The lease that the decision was made under, for replay: a trust state is named by its digest without it.
default lease := null

lease := data.placet_state.lease

# The outcome of verifying this token, where that was the only call but for the clock's. Calls are filed under their
# operands, as JSON.
only_call(token) := verified[0] if {
	count(input.nd_builtin_cache) == 2
	input.nd_builtin_cache["time.now_ns"]
	count(calls) == 1
	some operands, verified in calls
	startswith(operands, concat("", [`["`, token, `",`]))
}

# Every outcome, filed under the SHA-256 of its token; where one token was verified more than once, all also under that of
# the constraints. (A text with a quote in it is no JWT, and is not verified.)
outcomes := {crypto.sha256(verified): calls[operands][0] | some operands, verified in tokens} if {
	count({verified | some verified in tokens}) == count(calls)
} else := object.union_n([{filed(operands): verified[0]} | some operands, verified in calls])

default calls := {}

calls := input.nd_builtin_cache["io.jwt.decode_verify"]

tokens := {operands: split(operands, `"`)[1] | some operands, _ in calls; startswith(operands, `["`)}

filed(operands) := concat(":", [crypto.sha256(verified), crypto.sha256(json.marshal(constraints))]) if {
	[verified, constraints] := json.unmarshal(operands)
} else := crypto.sha256(operands)

# What stands in the places for tokens, as it is recorded. Certificates and the name of an asserted subject stay: they
# are no secrets, and replay needs them.
shown["identity"] := identified(input.input.identity)

# (Of what it replaces nothing may be left: `object.union` merges objects.)
shown["execution"] := object.union(object.remove(execution, ["token"]), {"token": unsigned(execution.token)}) if {
	execution := input.input.execution
}

shown[member] := each_unsigned(input.input[member]) if some member in ["warrant", "environment"]

shown["proof"] := unsigned(input.input.proof)

identified(identity) := object.union_n([
	{"token": unsigned(token) | some token in object.filter(identity, ["token"])},
	{member: beside(member, value) | some member, value in object.filter(identity, ["asserted", "certificate"])},
	{"(other members)": digest(others) |
		others := object.remove(identity, ["token", "asserted", "certificate"])
		others != {}
	},
]) if {
	is_object(identity)
} else := unsigned(identity)

beside("asserted", value) := value

beside("certificate", chain) := [certificate(pem) | some pem in at_most_ten(chain)] if {
	is_array(chain)
} else := digest(chain)

each_unsigned(tokens) := [unsigned(token) | some token in at_most_ten(tokens)] if {
	is_array(tokens)
} else := unsigned(tokens)

# A digest is longer than what a caller can repeat, so the rest of a long list, which no check lets pass, shares one.
at_most_ten(list) := list if {
	count(list) <= 9
} else := array.concat(array.slice(list, 0, 9), [array.slice(list, 9, count(list))])

# A key that somebody sent in the place of a certificate is not shown.
certificate(pem) := pem if {
	startswith(pem, "-----BEGIN CERTIFICATE-----")
	count(split(pem, "-----BEGIN")) == 2
} else := digest(pem)

# A JWT without its signature. It says all that it said, so replay can read it; it is as long as it was, give or take
# 64 characters, and shorter than what any check lets pass.
unsigned(token) := concat(".", [header, payload, crypto.sha256(token)]) if {
	count(token) <= 8128
	[header, payload, _] := split(token, ".")
	startswith(header, "ey") # the base64url of `{` and a quote or a blank
	startswith(payload, "ey")
	said := concat("", [base64url.decode(header), base64url.decode(payload)])
	not hides_token(said)
} else := digest(token)

# Whether the claims of a token may hold another one, be it with escapes.
hides_token(text) if {
	holds_token(text)
} else if {
	contains(text, `\u00`)
	regex.match(`\\u00(2[dDeE]|3\d|[46][1-9a-fA-F]|[57][\daA]|5[fF])`, text)
}

# Whether there is a token in a text. Nearly every JWT begins with the base64url of `{"` and a letter. A header may begin
# with blanks, though, so claims with a signature are another sign: the base64url of a JSON object, blanks before it or
# not, and of the 32 bytes that a signature has at least. The last are those of Placet's own API.
holds_token(text) if {
	contains(text, "eyJ")
} else if {
	regex.match(`\.(e[yw3]|[CDI])[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{43}`, text)
} else if {
	regex.match(`placet(-join)?_[0-9a-f]{12}_`, text)
}

# What is no JWT, by its SHA-256. Its type stays, since a check may refuse what is of another; and so do null, booleans
# and numbers, which are no tokens.
digest(value) := concat(":", ["sha256", crypto.sha256(value)]) if {
	is_string(value)
} else := {"sha256": crypto.sha256(json.marshal(value))} if {
	type_name(value) in {"object", "array"}
} else := value

# The input with what is shown in the places for tokens, and tokens elsewhere cut out.
default cut_input := null

cut_input := object.union(
	without_tokens(object.remove(input.input, object.keys(shown))),
	{member: cut_beside(member, value) | some member, value in shown},
) if {
	is_object(input.input)
} else := without_tokens(input.input)

cut_beside(member, value) := object.union(
	without_tokens(object.remove(value, ["token"])),
	object.filter(value, ["token"]),
) if {
	member in {"identity", "execution"}
	is_object(value)
} else := value

# A token elsewhere, such as in the context, is cut out of the text of the whole; of one whose header begins with blanks,
# the claims and the signature, since OPA finds a dot sooner than where a header may begin.
without_tokens(value) := json.unmarshal(cut_each(escaped(json.marshal(value)), [
	`eyJ[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){2,4}`,
	`\.(e[yw3]|[CDI])[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{43,}`,
	`placet(-join)?_[0-9a-f]{12}_[A-Za-z0-9_-]*`,
]))

cut_each(text, [first, second, third]) := regex.replace(
	regex.replace(regex.replace(text, first, "(token cut)"), second, "(token cut)"),
	third,
	"(token cut)",
)

# The same JSON, in which no escape ends with the `e` that a token begins with: to cut that off would leave no JSON.
# Backslashes first, so that what follows one is an escape.
escaped(text) := capitals if {
	single := replace(text, `\\`, `\u005c`)
	capitals := replace(replace(replace(single, `\u000e`, `\u000E`), `\u001e`, `\u001E`), `\u003e`, `\u003E`)
}
