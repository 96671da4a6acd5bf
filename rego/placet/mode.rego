# The two modes in which a system may run for a while: shadow, while it is being adopted, and break-glass. The agent
# verified their signatures and lists those that hold; each counts only between its two times, by the one clock reading.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.mode

import data.placet.clock
import data.placet.identity
import data.placet.scope

# Shadow: `{id, until_ns}`, or null.
default shadow := null

shadow := [open(mode) | some mode in data.placet_state.trust.modes.shadow][0]

# Break-glass for this subject, action and resource: `{id, until_ns}`, or null. Who acts for the subject must be named
# too, and a subject that was only asserted counts for nobody.
default break_glass := null

break_glass := [open(mode) |
	some mode in data.placet_state.trust.modes.break_glass
	object.get(identity.subject, "asserted", false) == false
	every one in array.concat([identity.subject], object.get(identity.subject, "actors", [])) {
		{"issuer": one.issuer, "id": one.id} in mode.subjects
	}
	scope.matches(mode.actions, input.action.name)
	scope.resource_covered(mode.resources, input.resource)
][0]

# What is said of a mode at a time when it holds. Order is defined across types, so numbers must be shown to be such:
# only numbers stand between numbers.
open(mode) := {"id": mode.id, "until_ns": mode.until_ns} if {
	0 <= mode.from_ns
	mode.from_ns <= clock.now
	clock.now < mode.until_ns
	mode.until_ns <= 253402300799000000000
}
