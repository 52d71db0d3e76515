module aramid/bench/go_echo

go 1.18
