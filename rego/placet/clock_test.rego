package placet.clock_test

import data.placet.clock

test_it_is_the_time_of_the_query if clock.now == 42 with time.now_ns as 42
