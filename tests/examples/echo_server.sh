#!/usr/bin/env bash
# echo_server.sh <echo_server>: what a newcomer tries. The server says where it listens, gives every line
# back while another peer is connected and silent, finishes with a peer that half-closes, and on SIGINT
# exits 0 although the silent peer stays; a port in use and a bad option are answered.
set -euo pipefail
server=$1
log=$(mktemp)
pid=""
trap '[[ ! $pid ]] || kill -KILL "$pid" 2>/dev/null; rm -f "$log" "$log.second"' EXIT
source "$(dirname "${BASH_SOURCE[0]}")/running_server.sh"

start "$server" --host 127.0.0.1 --port 0

exec 3<>"/dev/tcp/127.0.0.1/$port" # the silent peer
exec 4<>"/dev/tcp/127.0.0.1/$port"
for line in hello "" "the quick brown fox"; do
  printf '%s\n' "$line" >&4
  IFS= read -r -t 10 reply <&4 || fail "no reply to '$line'"
  [[ $reply == "$line" ]] || fail "'$line' came back as '$reply'"
done
exec 4>&-

if "$server" --host 127.0.0.1 --port "$port" >/dev/null 2>"$log.second"; then
  fail "a second server took port $port as well"
fi
grep -q . "$log.second" || fail "a port in use is refused without a word"
rm -f "$log.second"
if "$server" --no-such-option >/dev/null 2>&1; then
  fail "--no-such-option is accepted"
fi

kill -INT "$pid"
status=0
wait "$pid" || status=$?
pid=""
((status == 0)) || fail "after SIGINT it exits with $status"
