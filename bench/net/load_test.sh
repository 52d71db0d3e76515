#!/bin/sh
# usage: load_test.sh EXIT_CODE SERVER [ARG...] -- NET_LOAD [ARG...]
# Starts the server on a port of the kernel's choice, runs the load against it and stops the server
# with SIGTERM. Fails unless the load ends with EXIT_CODE and the server with 0; exits 77 if the
# server ends with 3 at once, which says that the machine refuses io_uring.
set -eu

expected=$1
shift
listening=$(mktemp)
server=
trap 'rm -f "$listening"; [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true' EXIT

# The server's words up to "--", the load's behind it. None of them holds a blank.
server_command=
while [ "$1" != -- ]; do
    server_command="$server_command $1"
    shift
done
shift

$server_command --port 0 >"$listening" &
server=$!

tries=0
until port=$(sed -n 's/^listening on .*:\([0-9][0-9]*\).*/\1/p' "$listening") && [ -n "$port" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then
        echo "the server does not listen:$server_command" >&2
        exit 1
    fi
    if ! kill -0 "$server" 2>/dev/null; then
        code=0
        wait "$server" || code=$?
        server=
        echo "the server exited with $code before it listened:$server_command" >&2
        [ $code -ne 3 ] || exit 77 # no io_uring here: skipped
        exit 1
    fi
    sleep 0.1
done

code=0
timeout 50 "$@" --port "$port" || code=$?
if [ $code -ne "$expected" ]; then
    echo "net_load exited with $code, expected $expected" >&2
    exit 1
fi

kill -TERM "$server"
code=0
wait "$server" || code=$?
server=
if [ $code -ne 0 ]; then
    echo "the server exited with $code" >&2
    exit 1
fi
