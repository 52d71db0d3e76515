#!/usr/bin/env bash
# file_server.sh <file_server> <http_get>: both examples against each other, and the server against what no
# client should send. Every file arrives as it is, nothing above the directory does, each mistake has its
# status, a connection is kept alive, and one that fails harms no other.
set -euo pipefail
server=$1
get=$2
work=$(mktemp -d)
log=$work/log
pid=""
trap '[[ ! $pid ]] || kill -KILL "$pid" 2>/dev/null; rm -rf "$work"' EXIT
source "$(dirname "${BASH_SOURCE[0]}")/running_server.sh"

mkdir -p "$work/root/sub dir" "$work/root-not"
printf 'secret\n' >"$work/root-not/secret.txt"
printf 'secret\n' >"$work/secret.txt"
printf '<p>hello</p>\n' >"$work/root/index.html"
printf '{"deep": true}\n' >"$work/root/sub dir/data.json"
: >"$work/root/empty.txt"
head -c 5000000 /dev/urandom >"$work/root/large.bin"
mkfifo "$work/root/fifo"

start "$server" "$work/root" 127.0.0.1:0

exec 3<>"/dev/tcp/127.0.0.1/$port" # a silent peer, for as long as the test takes

# The files, as they are.
fetch() { # target, file
  "$get" 127.0.0.1 "$port" "$1" >"$work/got" 2>>"$log" || fail "GET $1 failed"
  cmp -s "$work/got" "$2" || fail "GET $1 is not $2"
}
fetch / "$work/root/index.html"
fetch /index.html?query "$work/root/index.html"
fetch "/sub%20dir/data.json" "$work/root/sub dir/data.json"
fetch /empty.txt "$work/root/empty.txt"
fetch /large.bin "$work/root/large.bin"

# Several at once.
fetches=()
for ((i = 0; i < 8; i++)); do
  "$get" 127.0.0.1 "$port" /large.bin >"$work/got.$i" 2>>"$log" &
  fetches+=($!)
done
for ((i = 0; i < 8; i++)); do
  wait "${fetches[i]}" || fail "one of eight GETs at once failed"
  cmp -s "$work/got.$i" "$work/root/large.bin" || fail "one of eight GETs at once got something else"
done

# http_get tells of a failure.
if "$get" 127.0.0.1 "$port" /none >/dev/null 2>"$work/error"; then
  fail "http_get /none succeeded"
fi
grep -q '404 Not Found' "$work/error" || fail "http_get does not say 404: $(<"$work/error")"
if "$get" 127.0.0.1 / >/dev/null 2>&1 || "$get" 127.0.0.1 http / >/dev/null 2>&1 || "$get" >/dev/null 2>&1; then
  fail "http_get takes no port, a wrong one, or nothing"
fi

# answer <status> <request…>: what the server says to a request, byte for byte, is that status.
answer() {
  local expected=$1 line
  shift
  exec 4<>"/dev/tcp/127.0.0.1/$port"
  printf "$@" >&4
  IFS= read -r -t 10 line <&4 || fail "no answer to $*"
  [[ $line == "HTTP/1.1 $expected "* ]] || fail "not $expected but '$line' to $*"
  exec 4>&-
}
close='HTTP/1.1\r\nConnection: close\r\n\r\n'
answer 200 "GET / $close"
answer 404 "GET /none $close"
answer 404 "GET /sub%%20dir $close"
answer 404 "GET /fifo $close"
answer 404 "GET /index.html/more $close"
answer 404 "GET /%s $close" "$(printf 'a%.0s' {1..300})"
answer 405 "DELETE /index.html $close"
answer 405 "OPTIONS * $close"
answer 400 "GET /../secret.txt $close"
answer 400 "GET /sub%%20dir/../../secret.txt $close"
answer 400 "GET /%%2e%%2e/secret.txt $close"
answer 400 "GET /..%%2fsecret.txt $close"
answer 400 "GET /%%zz $close"
answer 400 "GET /%%0 $close"
answer 400 "GET /index.html%%00.png $close"
answer 400 "GET -not/secret.txt $close" # beside the root, with a name that begins like it
answer 400 'nonsense\r\n\r\n'
answer 400 'GET / HTTP/9\r\n\r\n'
answer 400 'GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc'
answer 400 "GET / HTTP/1.1\r\nX-Large: %s\r\n\r\n" "$(printf 'a%.0s' {1..20000})"

# Kept alive, pipelined; HEAD has a length and no body, and the type goes by the name.
exec 4<>"/dev/tcp/127.0.0.1/$port"
printf 'HEAD /large.bin HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n' >&4
timeout 10 cat <&4 >"$work/answers" || fail "it does not close after 'Connection: close'"
exec 4>&-
tr -d '\r' <"$work/answers" >"$work/lines"
[[ $(grep -c '^HTTP/1.1 ' "$work/lines") == 3 ]] || fail "not three answers: $(<"$work/lines")"
grep -q '^Content-Length: 5000000$' "$work/lines" || fail "HEAD does not say the length"
grep -q '^Content-Type: application/octet-stream$' "$work/lines" || fail "HEAD does not say the type"
grep -q '^Content-Type: text/html' "$work/lines" || fail "GET does not say the type"
[[ $(tail -n 1 "$work/lines") == '<p>hello</p>' ]] || fail "the last answer is not the page"

# Peers that go away in the middle.
for ((i = 0; i < 5; i++)); do
  exec 4<>"/dev/tcp/127.0.0.1/$port"
  printf 'GET /large.bin HTTP/1.1\r\n\r\n' >&4
  exec 4>&-
  exec 4<>"/dev/tcp/127.0.0.1/$port"
  printf 'GET /lar' >&4
  exec 4>&-
done
fetch / "$work/root/index.html"

if "$server" "$work/root" "127.0.0.1:$port" >/dev/null 2>"$work/error"; then
  fail "a second server took port $port as well"
fi
grep -q . "$work/error" || fail "a port in use is refused without a word"
if "$server" "$work/none" 127.0.0.1:0 >/dev/null 2>&1; then
  fail "a directory that does not exist is served"
fi

kill -INT "$pid"
status=0
wait "$pid" || status=$?
pid=""
((status == 0)) || fail "after SIGINT it exits with $status"
