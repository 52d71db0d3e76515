# Sourced by the tests of servers. They have set $log, a file for the server's words, and kill $pid at their end.

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  cat "$log" >&2
  exit 1
}

# start <command...>: starts a server, and waits until it listens. Sets pid and port.
start() {
  : >"$log"  # before the server opens it, which may be after we look
  set -m # or bash would start the server with SIGINT ignored
  "$@" >"$log" 2>&1 &
  pid=$!
  set +m
  port=""
  for ((tries = 0; tries < 200; tries++)); do
    port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$log")
    [[ ! $port ]] || break
    sleep 0.05
  done
  [[ $port ]] || fail "it does not say 'listening on 127.0.0.1:PORT'"
}
