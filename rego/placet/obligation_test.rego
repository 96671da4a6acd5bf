package placet.obligation_test

import data.placet.obligation

test_nothing if {
	obligation.merged([]) == []
	obligation.merged(set()) == []
}

test_fields_to_mask_are_united if {
	obligation.merged([
		{"type": "mask", "fields": ["iban", "name"]},
		{"type": "mask", "fields": {"card", "iban"}},
	]) == [{"type": "mask", "fields": ["card", "iban", "name"]}]
}

test_the_lowest_limit_of_each_name_counts if {
	obligation.merged([
		{"type": "limit", "to": 7},
		{"type": "limit", "name": "rows", "to": 100},
		{"type": "limit", "name": "rows", "to": 50},
		{"type": "limit", "to": 9.5},
		{"type": "limit", "name": "bytes", "to": 1},
	]) == [
		{"type": "limit", "name": "bytes", "to": 1},
		{"type": "limit", "name": "rows", "to": 50},
		{"type": "limit", "to": 7},
	]
}

test_everybody_must_approve if {
	obligation.merged([
		{"type": "require_approval", "by": ["finance"]},
		{"type": "require_approval", "by": ["ann", "finance"]},
	]) == [{"type": "require_approval", "by": ["ann", "finance"]}]
}

test_the_highest_level_of_records if {
	obligation.merged([{"type": "record", "level": "summary"}]) == [{"type": "record", "level": "summary"}]
	obligation.merged([
		{"type": "record", "level": "summary"},
		{"type": "record", "level": "full"},
		{"type": "record", "level": "summary"},
	]) == [{"type": "record", "level": "full"}]
}

test_others_stay_once_and_in_order if {
	obligation.merged([
		{"type": "review", "queue": "b"},
		{"type": "mask", "fields": ["x"]},
		{"queue": "a"},
		{"type": "review", "queue": "b"},
		{"type": 7},
		{},
		{"queue": "a"},
	]) == [
		{"type": "mask", "fields": ["x"]},
		{"type": "review", "queue": "b"},
		{"queue": "a"},
		{"type": 7},
		{},
	]
}

test_the_order_of_what_is_merged_does_not_count if {
	listed := [
		{"type": "record", "level": "summary"},
		{"type": "require_approval", "by": ["b"]},
		{"type": "limit", "to": 2},
		{"type": "mask", "fields": ["x"]},
		{"type": "limit", "to": 1},
	]
	obligation.merged(listed) == obligation.merged(array.reverse(listed))
	[one.type | some one in obligation.merged(listed)] == ["mask", "limit", "require_approval", "record"]
}

test_malformed_ones_have_no_merge if {
	every one in [
		null, 7, "mask", [], true,
		{"type": "mask"},
		{"type": "mask", "fields": []},
		{"type": "mask", "fields": ["x", ""]},
		{"type": "mask", "fields": [7]},
		{"type": "mask", "fields": "x"},
		{"type": "mask", "fields": {"x": "y"}},
		{"type": "mask", "fields": null},
		{"type": "mask", "fields": ["x"], "other": 1},
		{"type": "mask", "fields": [format_int(n, 10) | some n in numbers.range(1, 257)]},
		{"type": "limit"},
		{"type": "limit", "to": "7"},
		{"type": "limit", "to": null},
		{"type": "limit", "to": 7, "name": 7},
		{"type": "limit", "to": 7, "other": 7},
		{"type": "require_approval"},
		{"type": "require_approval", "by": []},
		{"type": "require_approval", "by": {}},
		{"type": "require_approval", "by": ["a", null]},
		{"type": "require_approval", "by": ["a"], "within": 5},
		{"type": "record"},
		{"type": "record", "level": "none"},
		{"type": "record", "level": 1},
		{"type": "record", "level": "full", "for": "ever"},
	] {
		not merges([one])
		not merges([{"type": "record", "level": "full"}, one])
	}
	merges([{"type": "record", "level": "full"}])
	every list in [null, 7, "text", true, {"type": "mask"}] {
		not merges(list)
	}
}

merges(list) if obligation.merged(list)
