module aramid/bench/go_micro

go 1.18
