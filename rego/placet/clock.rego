# The one clock reading of a decision. Everything that depends on time takes it from here, so that a recorded
# decision can be replayed by replacing a single builtin.
package placet.clock

# Nanoseconds since 1970.
now := time.now_ns()
