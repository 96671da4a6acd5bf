# Replay: recorded decisions, made again by the very bundle that made them. OPA loads this beside the composed bundle;
# no sidecar has it.
#
# The input is `{batch, states, said}`: records as `{input, now, lease, state, calls}`, trust states by digest, and what
# most parts of the records' tokens say, by their base64url. A result is the JSON text of what the path gave then, beside
# the position of its record; a decision that is undefined has none.
package placet_replay

# (`with` takes a reference into the record for undefined, so every value is bound first.)
decision := [[position, json.marshal(answer)] |
	some position, one in input.batch
	asked := one.input
	now := one.now
	record := {"calls": one.calls, "said": input.said}
	state := {"lease": one.lease, "trust": input.states[one.state], "digest": one.state}
	answer := data.placet.decision with input as asked
		with data.placet_state as state
		with data.placet_record as record
		with time.now_ns as now
		with io.jwt.decode_verify as data.placet_replay.verify
]

start := [[position, json.marshal(answer)] |
	some position, one in input.batch
	asked := one.input
	now := one.now
	record := {"calls": one.calls, "said": input.said}
	state := {"lease": one.lease, "trust": input.states[one.state], "digest": one.state}
	answer := data.placet.start with input as asked
		with data.placet_state as state
		with data.placet_record as record
		with time.now_ns as now
		with io.jwt.decode_verify as data.placet_replay.verify
]

# Before the agent wrote any trust state. (Nothing can be replaced by what is undefined.)
stateless := [[position, json.marshal(answer)] |
	some position, one in input.batch
	asked := one.input
	now := one.now
	record := {"calls": one.calls, "said": input.said}
	answer := data.placet.decision with input as asked
		with data.placet_record as record
		with time.now_ns as now
		with io.jwt.decode_verify as data.placet_replay.verify
]

# A record without a clock reading: no clock was read, so what any clock gives is the same.
unclocked := [[position, json.marshal(answer)] |
	some position, one in input.batch
	asked := one.input
	record := {"calls": one.calls, "said": input.said}
	state := {"lease": one.lease, "trust": input.states[one.state], "digest": one.state}
	answers := {answer |
		some now in [0, 9223372036854775807]
		answer := data.placet.decision with input as asked
			with data.placet_state as state
			with data.placet_record as record
			with time.now_ns as now
			with io.jwt.decode_verify as data.placet_replay.verify
	}
	count(answers) == 1
	some answer in answers
]

# `io.jwt.decode_verify` with the outcome from the record that is decided. What the token says is read anew, and an
# outcome that it contradicts is none.
verify(token, constraints) := [true, header, claims] if {
	# What most are, in few steps.
	[first, second, third] := split(token, ".")
	data.placet_record.calls[third] == true
	header := data.placet_record.said[first]
	claims := data.placet_record.said[second]
	header.alg == constraints.alg
	claims.aud == constraints.aud
	claims.exp * 1000000000 > constraints.time
	not claims.nbf
} else := [true, header, claims] if {
	outcome(token, constraints) == true
	[first, second, _] := split(token, ".")
	header := json.unmarshal(base64url.decode(first))
	claims := json.unmarshal(base64url.decode(second))
	header.alg == object.get(constraints, "alg", header.alg)
	meant_for(object.get(claims, "aud", ""), object.get(constraints, "aud", ""))

	# A microsecond is left to the builtin, which compares times as doubles.
	now := constraints.time / 1000000000
	object.get(claims, "exp", now + 1) > now - 0.000001
	object.get(claims, "nbf", now) <= now + 0.000001
} else := [false, {}, {}] if {
	outcome(token, constraints) in {true, false}
}

meant_for(audience, wanted) if {
	audience == wanted
} else if {
	wanted in audience
}

# A token stands in the record with its SHA-256 in the place of the signature; one of the trust state is whole.
outcome(token, constraints) := held if {
	[_, _, third] := split(token, ".")
	held := data.placet_record.calls[third]
} else := held if {
	[_, _, third] := split(token, ".")
	held := data.placet_record.calls[concat(":", [third, crypto.sha256(json.marshal(constraints))])]
} else := held if {
	held := data.placet_record.calls[crypto.sha256(token)]
} else := held if {
	held := data.placet_record.calls[concat(":", [crypto.sha256(token), crypto.sha256(json.marshal(constraints))])]
} else := null if {
	unreadable(token)
} else := unheld

# The builtin gives nothing, and so leaves no outcome, where claims are none, or times no numbers.
unreadable(token) if {
	[_, second, _] := split(token, ".")
	not readable(second)
}

readable(part) if {
	claims := json.unmarshal(base64url.decode(part))
	is_number(object.get(claims, "exp", 0))
	is_number(object.get(claims, "nbf", 0))
}

# Has two values, which OPA answers with an error: nothing may be decided on an outcome that is not known.
unheld := 1

unheld := 2
