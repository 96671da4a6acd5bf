# What a scope covers: actions, resources, and bounds on the context. Warrants and execution tokens carry one.
#
# A pattern is an exact text, or a prefix with one trailing `*`; `*` alone means everything. No pattern of another form
# may get here: whoever takes scopes from outside asks `patterns_well_formed` and `constraints_well_formed` first.
package placet.scope

# Whether the scope `{actions, resources, constraints}` covers the request `{action, resource, context?}`.
covers(scope, request) if {
	matches(scope.actions, request.action.name)
	resource_covered(scope.resources, request.resource)
	constraints_met(scope.constraints, object.get(request, "context", {}))
}

# Whether one of the patterns covers the text.
matches(patterns, text) if {
	text in patterns
} else if {
	# What `prefixes` gives, without the call, which every decision would pay.
	strings.any_prefix_match(text, [trim_suffix(pattern, "*") | some pattern in patterns; endswith(pattern, "*")])
}

# Whether one of the patterns covers `TYPE/ID`. With a slash in the type it could be read in two ways, so nothing
# covers that.
resource_covered(patterns, resource) if {
	contains(resource.type, "/") == false
	matches(patterns, concat("/", [resource.type, resource.id]))
}

# Whether the context holds every constrained member, of the right type and inside its bounds.
constraints_met(constraints, context) if {
	constraints == {}
} else if {
	is_object(constraints)
	every member, bound in constraints {
		inside(bound, context[member])
	}
}

# Whether a value is inside a bound. Order is defined across types (`null <= 100` is true), so both sides must be known
# to be numbers: the bound's are, by its form.
inside(bound, value) if {
	most := bound.at_most
	comparable(value)
	value <= most
	value >= object.get(bound, "at_least", value)
} else if {
	type_name(value) in {"string", "boolean"}
	value in bound["in"]
} else if {
	comparable(value)
	value in bound["in"]
} else if {
	comparable(value)
	object.keys(bound) == {"at_least"}
	value >= bound.at_least
}

# A number of at most 40 digits and three of exponent. To compare longer ones can cost seconds.
comparable(value) if {
	is_number(value)
	regex.match(`^[-.0-9]{1,41}([eE][-+]?[0-9]{1,3})?$`, json.marshal(value))
}

# Whether the scope `child` allows nothing that the scope `parent` does not.
narrower(child, parent) if {
	patterns_within(child.actions, parent.actions)
	patterns_within(child.resources, parent.resources)
	constraints_within(object.get(child, "constraints", {}), object.get(parent, "constraints", {}))
}

# Whether each pattern of `child` is one of `parent`, or lies under a prefix of it. (What `a*` covers lies under `a`;
# what the text `a` covers does too.)
patterns_within(child, parent) if {
	starts := prefixes(parent)
	every text in [trim_suffix(pattern, "*") | some pattern in child; not pattern in parent] {
		strings.any_prefix_match(text, starts)
	}
}

# Whether `child` repeats every constraint of `parent`, equal or tighter. It may have more.
constraints_within(child, parent) if {
	every member, bound in parent {
		tighter(child[member], bound)
	}
}

tighter(child, parent) if {
	every side, bound in parent {
		tighter_side(side, child[side], bound)
	}
}

tighter_side("at_most", own, bound) if own <= bound

tighter_side("at_least", own, bound) if own >= bound

tighter_side("in", own, bound) if {
	every value in own {
		value in bound
	}
}

prefixes(patterns) := [trim_suffix(pattern, "*") | some pattern in patterns; endswith(pattern, "*")]

# 1 to 32 patterns.
patterns_well_formed(patterns) if {
	count(patterns) <= 32

	# The usual ones at once, by how they are written as JSON; without anything that is escaped there.
	regex.match(`^\["([^*"\\]+\*?|\*)"(,"([^*"\\]+\*?|\*)")*\]$`, json.marshal(patterns))
} else if {
	# `concat` is defined for lists of strings alone.
	concat("", patterns)
	count(patterns) <= 32
	patterns != []
	every pattern in patterns {
		pattern != ""
		contains(trim_suffix(pattern, "*"), "*") == false
	}
}

# At most 32 bounds by member of the context: `{at_most?, at_least?}` with numbers, or `{in}` with 1 to 64 strings, numbers
# or booleans. The numbers are comparable ones. To look at them as JSON is the cheapest way to look at all of them.
constraints_well_formed(constraints) if {
	is_object(constraints)
	count(constraints) <= 32
	every bound in constraints {
		bound_well_formed(bound)
	}
}

bound_well_formed(bound) if {
	regex.match(
		`^\{"at_(least|most)":[-.0-9]{1,41}([eE][-+]?[0-9]{1,3})?(,"at_most":[-.0-9]{1,41}([eE][-+]?[0-9]{1,3})?)?\}$`,
		json.marshal(bound),
	)
} else if {
	bound == {"in": bound["in"]}
	count(bound["in"]) <= 64
	regex.match(
		`^\[("([^"\\]|\\.)*"|true|false|[-.0-9]{1,41}([eE][-+]?[0-9]{1,3})?)(,("([^"\\]|\\.)*"|true|false|[-.0-9]{1,41}([eE][-+]?[0-9]{1,3})?))*\]$`,
		json.marshal(bound["in"]),
	)
}
