#!/bin/sh
# pkg_config.sh <prefix> <libdir> <output> <compiler> [<flag>...]: builds and runs main.cpp against the
# aramid that is installed under <prefix>, through its pkg-config files alone.
set -eu
prefix=$1 libdir=$2 output=$3
shift 3

export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
flags=$(pkg-config --cflags --libs aramid-io)
rpath=$(pkg-config --variable=libdir aramid-io)
# shellcheck disable=SC2086  # the flags are words
"$@" -std=c++20 "$(dirname "$0")/main.cpp" $flags -Wl,-rpath,"$rpath" -o "$output"
exec "$output"
