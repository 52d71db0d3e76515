#!/usr/bin/env bash
# crawler.sh <crawler> <file_server> <python3>: every page once, however it is linked; every mistake has its line and its word; no more at once than
# was asked for, and as many; Ctrl-C ends it wherever it is, and says what was done.
set -euo pipefail
crawler=$1
file_server=$2
python=$3
here=$(dirname "${BASH_SOURCE[0]}")
work=$(mktemp -d)
log=$work/log
pid=""
server=""
trap 'for each in $pid $server; do kill -KILL "$each" 2>/dev/null; done; rm -rf "$work"' EXIT
source "$here/running_server.sh"

# crawl <exit code> <argument…>: runs it; its lines are in $work/out, its other words in $work/error.
crawl() {
  local expected=$1 status=0
  shift
  timeout 60 "$crawler" "$@" >"$work/out" 2>"$work/error" </dev/null || status=$?
  ((status == expected)) || fail "exit code $status, not $expected, of: $*: $(<"$work/out") $(<"$work/error")"
}
# says <URL> <status> <bytes> [note]: a line of the last crawl.
says() {
  grep -qP "^$2\t$3\t\d+ ms\t\Q$1\E${4+\t.*\Q$4\E.*}\$" "$work/out" || fail "no line '$2 $3 $1 ${4-}' in: $(<"$work/out")"
}
sums_up() { [[ $(<"$work/error") == "$1, "*" MB, "*" MB/s" ]] || fail "not '$1' but: $(<"$work/error")"; }
# wait_for <what> <command…>
wait_for() {
  local what=$1
  shift
  for ((tries = 0; tries < 600; tries++)); do
    "$@" && return
    sleep 0.05
  done
  fail "waited in vain for $what"
}
requests() { (($(grep -c "^GET $1" "$log") >= $2)); }
# interrupt: Ctrl-C for the crawler that runs in the background.
interrupt() {
  kill -INT "$pid"
  local status=0
  wait "$pid" || status=$?
  pid=""
  ((status == 130)) || fail "after SIGINT it exits with $status"
}

# A site of files: a ring of 100 pages, each with links to the next ones, two of them at a time by name.
mkdir "$work/site"
for ((i = 0; i < 100; i++)); do
  printf '<a href="%d.html">next</a> <a href="/./%d.html#x">one further</a> <a href="0.html">home</a>\n' \
    $(((i + 1) % 100)) $(((i + 2) % 100)) >"$work/site/$i.html"
done
start "$file_server" "$work/site" 127.0.0.1:0
crawl 0 "http://127.0.0.1:$port/0.html" --depth 100
[[ $(cut -f 4 "$work/out" | sort -u | wc -l) == 100 && $(wc -l <"$work/out") == 100 ]] || fail "not each of 100 pages once"
sums_up "100 done, 0 failed, 0 cut short"
crawl 0 "http://127.0.0.1:$port/0.html" --depth 3
[[ $(wc -l <"$work/out") == 7 ]] || fail "three links deep there are 7 pages"
crawl 0 $(for ((i = 0; i < 100; i++)); do echo "http://localhost:$port/$i.html http://LOCALHOST:$port/x/../$i.html"; done)
sums_up "100 done, 0 failed, 0 cut short"
for ((i = 0; i < 100; i++)); do echo "http://127.0.0.1:$port/$i.html"; done >"$work/urls"
printf '\n\r\n \t http://127.0.0.1:%d/none' "$port" >>"$work/urls" # a last line without an end
crawl 1 --file "$work/urls" "http://127.0.0.1:$port/0.html"
sums_up "100 done, 1 failed, 0 cut short"
says "http://127.0.0.1:$port/none" 404 10

# A server that does not answer, and one that is not there.
kill -STOP "$pid"
crawl 1 "http://127.0.0.1:$port/0.html" --deadline 0.2
says "http://127.0.0.1:$port/0.html" - 0 "the deadline has passed"
kill -CONT "$pid"
kill -TERM "$pid"
wait "$pid" 2>/dev/null || true
pid=""
crawl 1 "http://127.0.0.1:$port/" "http://localhost:$port/"
says "http://127.0.0.1:$port/" - 0 "Connection refused"
says "http://localhost:$port/" - 0 "Connection refused"
sums_up "0 done, 2 failed, 0 cut short"

start "$python" "$here/odd_http_server.py"
server=$pid
pid=""
at=http://127.0.0.1:$port

# Answers that are none, and redirects.
crawl 1 $at/ok $at/none $at/hop/3 $at/hop/5 $at/hop/6 $at/loop $at/https $at/garbage $at/nothing $at/short
says $at/ok 200 5
says $at/none 404 3
says $at/hop/3 200 5 "-> $at/ok"
says $at/hop/5 200 5 "-> $at/ok"
says $at/hop/6 - 0 "more than 5 redirects, the last to /ok"
says $at/loop - 0 "more than 5 redirects, the last to /loop"
says $at/https - 0 "'https://127.0.0.1/' needs TLS"
says $at/garbage - 0 "read the answer: "
says $at/nothing - 0 "read the answer: end of stream"
says $at/short - 0 "read the answer: partial message"
sums_up "3 done, 7 failed, 0 cut short"
[[ $(grep -c '^GET /loop' "$log") == 6 ]] || fail "/loop is not asked for six times"
crawl 1 $at/never $at/never?1 --deadline 0.2
says $at/never - 0 "the deadline has passed"
sums_up "0 done, 2 failed, 0 cut short"
crawl 1 $at/endless --body-limit 100000
says $at/endless - 0 "read the answer: body limit exceeded"
crawl 0 $at/hop/1 --redirects 1
crawl 1 $at/hop/1 --redirects 0

# Links as pages have them: relative, quoted or not, escaped, to other hosts and other protocols. Nothing is asked for twice.
crawl 1 $at/page/start.html $at/page/plain --depth 2
cut -f 1,4 "$work/out" | sort >"$work/got"
sort >"$work/expected" <<END
200	$at/page/start.html
200	$at/page/plain
200	$at/page/a.html
200	$at/page/sub/b.html
200	$at/page/start.html?x=1&y=2
200	$at/page/deep.html
200	$at/ok
404	$at/page/c.html
404	$at/page/a%20b.html
404	$at/page/%01&%2310;
404	$at/page/x
END
sed -i 's/%01&%2310;/%01\&/' "$work/expected" # what follows # is not the server's
diff "$work/expected" "$work/got" >&2 || fail "these are not the pages"
[[ ! $(grep '^GET /page' "$log" | sort | uniq -d) ]] || fail "a page is asked for twice"

# As many at once as there may be, and no more: the server answers when they are all there.
crawl 0 --at-once 4 --per-host 100 $(for i in {1..12}; do echo $at/together/4/$i; done)
crawl 0 $at/peak
says $at/peak 200 4
crawl 0 --per-host 6 $(for i in {1..18}; do echo $at/together/6/$i; done)
crawl 0 $at/peak
says $at/peak 200 6

# What is no URL of ours. The rest is done all the same.
crawl 1 https://127.0.0.1/ ftp://127.0.0.1/ 127.0.0.1 "http://" "http://:80/" "http://a:b@127.0.0.1/" "http://127.0.0.1:65536/" "http://127.0.0.1:0/" \
  "http://127.0.0.1:http/" "http://256.1.1.1/" "http://a b/" "http://[::1" $at/ok
says https://127.0.0.1/ - 0 "'https://127.0.0.1/' needs TLS, which this program does not have: http only"
says ftp://127.0.0.1/ - 0 "'ftp://127.0.0.1/' is not for this program: http only"
says 127.0.0.1 - 0 "is no URL: it does not begin with http://"
says http://127.0.0.1:65536/ - 0 "has a port that is none"
sums_up "1 done, 12 failed, 0 cut short"
crawl 1 --file "$work/none"
grep -q "$work/none" "$work/error" || fail "a file that is not there is not named: $(<"$work/error")"
head -c 100000 /dev/zero | tr '\0' x >"$work/word"
crawl 1 --file "$work/word"
grep -q "no list of URLs" "$work/error" || fail "nonsense in a file is not told of: $(<"$work/error")"
for bad in "--at-once 0" "--at-once -1" "--per-host 0" "--deadline nan" "--deadline x" "--depth -1" "--body-limit 1k" --none; do
  if "$crawler" $bad $at/ok >/dev/null 2>&1; then
    fail "$bad is accepted"
  fi
done
if "$crawler" $at/ok >/dev/full 2>"$work/error"; then
  fail "it does not mind that its lines are lost"
fi
grep -q "standard output cannot be written" "$work/error" || fail "a full disk is not told of: $(<"$work/error")"
crawl 0 # nothing on standard input
sums_up "0 done, 0 failed, 0 cut short"

# Ctrl-C in the middle: what has ended has its line, what has not is counted.
set -m # or bash would start it with SIGINT ignored
"$crawler" $at/ok?1 $at/ok?2 $at/never?a{1..5} $at/none --deadline 1000 >"$work/out" 2>"$work/error" &
pid=$!
three_lines() { (($(wc -l <"$work/out") == 3)); }
wait_for "five requests that have no answer" requests "/never?a" 5
wait_for "three answers" three_lines
interrupt
sums_up "interrupted: 2 done, 1 failed, 5 cut short"

# More URLs than there is memory: no more of them are read than are in hand, and Ctrl-C still ends it.
"$crawler" --at-once 7 --deadline 1000 < <(seq -f "$at/never?b%.0f" 100000000) >"$work/out" 2>"$work/error" &
pid=$!
wait_for "seven requests" requests "/never?b" 7
interrupt
sums_up "interrupted: 0 done, 0 failed, 7 cut short"
# Ctrl-C while it waits for its input.
mkfifo "$work/fifo"
exec 3<>"$work/fifo"
"$crawler" <"$work/fifo" >"$work/out" 2>"$work/error" &
pid=$!
echo $at/ok >&3
wait_for "the answer to what it has read" grep -q "$at/ok" "$work/out"
interrupt
exec 3>&-
sums_up "interrupted: 1 done, 0 failed, 0 cut short"

# On a terminal there is a line that is written over and over; it does not get between the others.
if command -v script >/dev/null; then
  : >"$work/terminal"
  script -qefc "echo \$\$ >'$work/pid'; exec '$crawler' --deadline 1000 $at/ok $at/never" "$work/terminal" >/dev/null 2>&1 </dev/null &
  pid=$!
  wait_for "the progress" grep -aqP '\r\x1b\[K1 done, 0 failed, 1 in flight, 0\.0 MB, 0\.0 MB/s' "$work/terminal"
  kill -INT "$(<"$work/pid")"
  wait "$pid" || true
  pid=""
  grep -aqP "(^|\x1b\[K)200\t5\t\d+ ms\t$at/ok\r" "$work/terminal" || fail "the result is not on a line of its own"
  grep -aqP '\x1b\[Kinterrupted: 1 done, 0 failed, 1 cut short' "$work/terminal" || fail "it is not summed up on the terminal"
fi

kill -TERM "$server"
wait "$server" 2>/dev/null || true
server=""
