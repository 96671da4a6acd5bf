package orders.lib.times

hours_since(text) := (time.now_ns() - time.parse_rfc3339_ns(text)) / 3600000000000
