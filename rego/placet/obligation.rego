# Obligations from more than one rule, merged so that whoever fulfils the result fulfils each of them.
#
# - `mask`, `{type, fields: [text]}`: one, with every field.
# - `limit`, `{type, name?, to: number}`: for each name the lowest, sorted, and then the lowest without a name.
# - `require_approval`, `{type, by: [text]}`: one, with everybody: each of them must approve.
# - `record`, `{type, level: "full" | "summary"}`: one, of the highest level.
#
# Any other stays as it is, once. The result is ordered: as above, then the others as they came. One of these types but
# of another form is no obligation that could be fulfilled, so the merge is undefined, and the policy's answer malformed.
package placet.obligation

merged(obligations) := [] if {
	count(obligations) == 0
} else := array.concat(array.concat(masks, limits), array.concat(array.concat(approvals, records), others)) if {
	every obligation in obligations {
		well_formed(obligation)
	}
	listed := [obligation | some obligation in obligations]
	masks := united(listed, "mask", "fields")
	limits := lowest(listed)
	approvals := united(listed, "require_approval", "by")
	records := highest(listed)
	rest := [obligation | some obligation in listed; not special(obligation)]
	others := [obligation | some at, obligation in rest; not obligation in array.slice(rest, 0, at)]
}

special(obligation) if obligation.type in {"mask", "limit", "require_approval", "record"}

well_formed(obligation) if {
	is_object(obligation)
	not special(obligation)
} else if {
	obligation.type == "mask"
	object.keys(obligation) == {"type", "fields"}
	texts(obligation.fields)
} else if {
	obligation.type == "limit"
	object.keys(obligation) - {"name"} == {"type", "to"}
	is_string(object.get(obligation, "name", ""))
	is_number(obligation.to)
} else if {
	obligation.type == "require_approval"
	object.keys(obligation) == {"type", "by"}
	texts(obligation.by)
} else if {
	obligation.type == "record"
	object.keys(obligation) == {"type", "level"}
	obligation.level in {"full", "summary"}
}

# 1 to 256 texts, in an array or a set.
texts(list) if {
	type_name(list) in {"array", "set"}
	count(list) <= 256
	concat("", list)
	count(list) > 0
	not "" in list
}

# One obligation of the type with what all of them name, sorted; none without any.
united(obligations, type, member) := [{"type": type, member: sort(names)} | count(names) > 0] if {
	names := {name | some obligation in obligations; obligation.type == type; some name in obligation[member]}
}

lowest(obligations) := [object.union(group, {"to": min(bounds)}) |
	some group in {object.remove(obligation, ["to"]) | some obligation in obligations; obligation.type == "limit"}
	bounds := {obligation.to | some obligation in obligations; object.remove(obligation, ["to"]) == group}
]

highest(obligations) := [{"type": "record", "level": min(levels)} | count(levels) > 0] if {
	# "full" stands before "summary", in the alphabet too.
	levels := {obligation.level | some obligation in obligations; obligation.type == "record"}
}
