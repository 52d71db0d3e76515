# shellcheck shell=bash
# Sourced by the commands beside it: sees to it that this machine can build aramid, installs what is
# missing from Debian's packages, and says what is wrong where it cannot. After it the working directory
# is the root of the tree.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

say() { printf 'tools/%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$@"
  exit 1
}

read -ra compiler <<<"${CXX:-c++}"

# Debian package | how to tell that it is there without dpkg: a command, or a header and a library.
needs=(
  "g++ | command ${compiler[0]}"
  "cmake | command cmake"
  "ninja-build | command ninja"
  "pkg-config | command pkg-config"
  "libboost-dev | builds boost/beast/version.hpp"
  "libboost-context-dev | builds boost/version.hpp -lboost_context"
  "libboost-fiber-dev | builds boost/version.hpp -lboost_fiber"
  "liburing-dev | builds liburing.h -luring"
  "libc-ares-dev | builds ares.h -lcares"
  "libgtest-dev | builds gtest/gtest_prod.h -lgtest"
  "libbenchmark-dev | builds benchmark/benchmark.h -lbenchmark"
  "libcli11-dev | builds CLI/CLI.hpp"
  "gdb | command gdb"
)

builds() {
  local header=$1
  shift
  printf '#include <%s>\nint main() {}\n' "$header" |
    "${compiler[@]}" -std=c++20 -x c++ - "$@" -o /dev/null 2>/dev/null
}

is_installed() {  # package, probe...
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]] && return
  case $2 in
    command) command -v "$3" >/dev/null ;;
    builds) builds "${@:3}" ;;
  esac
}

find_missing() {
  local need words
  missing=()
  for need in "${needs[@]}"; do
    read -ra words <<<"${need/|/}"
    is_installed "${words[@]}" || missing+=("${words[0]}")
  done
}

install_missing() {
  local as_root=() log install
  install="apt-get install -y --no-install-recommends ${missing[*]}"

  command -v apt-get >/dev/null ||
    die "this machine has no apt-get, so install the like of these Debian packages yourself:" \
      "${missing[*]}"
  if ((EUID != 0)); then
    sudo -n true 2>/dev/null ||
      die "these packages are missing and I am not root; run:" \
        "sudo apt-get update && sudo $install"
    as_root=(sudo -n)
  fi

  say "installing ${missing[*]}"
  log=$(mktemp)
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=1 -o Acquire::http::Timeout=30)
  # apt-get update fails softly without a network, and what it fetched before may do: install decides.
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    grep -E '^(E|W|Err)' "$log" | tail -n 12 >&2 || tail -n 12 "$log" >&2
    rm -f "$log"
    die "apt-get could not install ${missing[*]}: is there a network, are Debian's mirrors" \
      "reachable, and is this Debian 12 or newer? By hand: apt-get update && $install"
  fi
  rm -f "$log"
}

at_least() { [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

check_compiler() {
  local macros version
  macros=$("${compiler[@]}" -dM -E -x c++ /dev/null) ||
    die "the compiler ${compiler[*]} does not run"
  version=$(sed -n 's/^#define __clang_major__ //p' <<<"$macros")
  if [[ $version ]]; then
    at_least "$version" 14 || die "${compiler[*]} is clang $version; aramid needs clang 14 or g++ 12" \
      "(choose another with CXX=)"
  else
    version=$(sed -n 's/^#define __GNUC__ //p' <<<"$macros")
    at_least "$version" 12 || die "${compiler[*]} is g++ $version; aramid needs g++ 12 or clang 14" \
      "(Debian 12 has both; choose another with CXX=)"
  fi
}

check_cmake() {
  local version
  version=$(cmake --version | sed -n '1s/.* //p')
  at_least "$version" 3.25 || die "cmake is $version; aramid needs 3.25 (Debian 12 has it)"
}

prepare() {
  [[ $(uname -s) == Linux ]] || die "aramid is for Linux; this is $(uname -s)"
  find_missing
  if ((${#missing[@]})); then
    install_missing
    find_missing
    ((${#missing[@]} == 0)) || die "still missing after apt-get: ${missing[*]}"
  fi
  check_compiler
  check_cmake
}

# Asks the kernel for a ring, as the io_uring driver will. Returns 0, or sets io_uring_refusal to the
# reason in words and returns 1.
probe_io_uring() {
  local dir error=0 disabled
  dir=$(mktemp -d)
  "${compiler[@]}" -x c - -o "$dir/probe" <<'C' || die "cannot build the io_uring probe"
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
  unsigned params[30] = {0};          // struct io_uring_params, 120 bytes
  params[2] = (1u << 8) | (1u << 9);  // flags: COOP_TASKRUN | TASKRUN_FLAG, Linux 5.19
  return syscall(SYS_io_uring_setup, 4, params) >= 0 ? 0 : errno;
}
C
  "$dir/probe" || error=$?
  rm -rf "$dir"
  disabled=$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)

  case $error in
    0) return 0 ;;
    1 | 13)
      if [[ $disabled == 2 ]]; then
        io_uring_refusal="the sysctl kernel.io_uring_disabled is 2, which forbids it to everybody"
      elif [[ $disabled == 1 && $EUID != 0 ]]; then
        io_uring_refusal="the sysctl kernel.io_uring_disabled is 1, which leaves it to root and the group in kernel.io_uring_group"
      else
        io_uring_refusal="a seccomp filter or security module forbids it, as Docker's default profile does (docker run --security-opt seccomp=unconfined)"
      fi
      ;;
    38) io_uring_refusal="the kernel, $(uname -r), is too old or was built without it, or a seccomp filter hides it" ;;
    22) io_uring_refusal="the kernel, $(uname -r), is too old: 5.19 is needed" ;;
    12) io_uring_refusal="no memory may be locked for a ring (ulimit -l is $(ulimit -l))" ;;
    *) io_uring_refusal="io_uring_setup fails with errno $error" ;;
  esac
  return 1
}
