# What a system has kept out of its records, beyond tokens: values of the request and of the result, by their paths.
# `trust.masking` is `{input, result}`, lists of `{path, how}`: the steps of `path` are names of members, or null for every
# member or element; `how` is `remove` or `hash`.
#
# Every value is replaced at its place, so that replay sees that something was there. What cannot be done as the rules
# say is done more widely, never less.

# METADATA
# scope: package
# schemas:
# - data.placet_state: schema.state
package placet_log.rules

import data.placet_log

# More values than this under one rule are not replaced one by one: a record would grow beyond its request.
most := 64

default operations := [
	{"op": "upsert", "path": "/input", "value": "(masked)"},
	{"op": "upsert", "path": "/result", "value": "(masked)"},
]

operations := array.concat(
	[{"op": "upsert", "path": "/input", "value": hidden(recorded_input, masking.input)} | masking.input != []],
	[{"op": "upsert", "path": "/result", "value": hidden(recorded_result, masking.result)} | masking.result != []],
) if {
	masking := data.placet_state.trust.masking
	is_array(masking.input)
	is_array(masking.result)
	every rule in array.concat(masking.input, masking.result) {
		well_formed(rule)
	}
} else := [{"op": "upsert", "path": "/input", "value": {"(others)": "(masked)", "execution": named}}] if {
	# Without trust state no policy was asked, and the result says no more than that, and of which execution.
	not data.placet_state.trust
}

named := object.union(
	{"id": id | id := recorded_input.execution.id; is_string(id)},
	{"token": "(masked)" | _ := recorded_input.execution.token},
)

well_formed(rule) if {
	count(rule.path) in numbers.range(1, 8)
	every step in rule.path {
		type_name(step) in {"string", "null"}
	}
	is_array(rule.path)
	is_string(rule.path[0])
	rule.how in {"remove", "hash"}
}

# Input and result as they are when the tokens are out; an input that is no object is replaced whole already. Undefined:
# there is none.
recorded_input := whole("/input")[0] if {
	count(whole("/input")) > 0
} else := object.union(object.remove(input.input, object.keys(parts)), parts) if {
	parts := {trim_prefix(one.path, "/input/"): one.value |
		some one in placet_log.cut
		startswith(one.path, "/input/")
	}
}

recorded_result := whole("/result")[0] if {
	count(whole("/result")) > 0
} else := input.result

whole(path) := [one.value | some one in placet_log.cut; one.path == path]

# The document with each value that a rule names replaced: deeper ones first, so that all places are still there. What is
# no object has no members that rules could name, and is kept back whole.
hidden(document, rules) := json.patch(document, changes) if {
	is_object(document)
	places := [[place, shown(value, rule.how)] |
		some rule in rules
		some [place, value] in within(document, rule.path)
	]
	changes := [{"op": "replace", "path": place, "value": value} | some [place, value] in array.reverse(sort(places))]
} else := "(masked)"

# The values that a path leads to, with their places. Where they are too many, what holds them is the one value.
within(document, path) := found if {
	found := reached(document, path)
	count(found) <= most
} else := [[[path[0]], document[path[0]]]]

# A step at a time; a path has eight at most.
reached(document, path) := next(next(next(next(fourth, path, 4), path, 5), path, 6), path, 7) if {
	fourth := next(next(next(next([[[], document]], path, 0), path, 1), path, 2), path, 3)
}

next(nodes, path, position) := nodes if {
	position >= count(path)
} else := [[array.concat(place, [path[position]]), value] |
	some [place, holder] in nodes
	is_object(holder)
	value := holder[path[position]]
] if {
	is_string(path[position])
} else := [[array.concat(place, [name]), value] |
	some [place, holder] in nodes
	type_name(holder) in {"object", "array"}
	some name, value in holder
] if {
	# Undefined where they are too many, so that nobody can make this slow.
	sum([count(holder) | some [_, holder] in nodes; type_name(holder) in {"object", "array"}]) <= most
}

# Equal values have equal digests, under a key that only this sidecar has: nobody else can try out what was hashed.
shown(value, "hash") := sprintf("(masked %s)", [crypto.hmac.sha256(json.marshal(value), key)]) if {
	key := data.placet_state.masking_key
	count(key) >= 32
} else := "(masked)"

shown(_, "remove") := "(masked)"
