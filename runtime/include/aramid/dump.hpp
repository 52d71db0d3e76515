// Seeing what waits: every fiber of a runtime, as text.
//
//     std::cerr << aramid::dump_fibers();
//
//     3 fibers on 2 workers, driver io_uring
//     fiber 'root' (1024), waiting for 1.204 s in channel::receive (0x7ffc00d0a1b0)
//         0x55d3c1a4f3e2 fetch(std::string const&)+0x52 (/usr/bin/crawler+0xf3e2)
//         …
//     fiber 'crunch' (1025), running on worker 1
//         …
//     fiber (1026), not started
//
// options::dump_on_sigquit logs that whenever the process gets SIGQUIT (Ctrl-\ on a terminal). A debugger shows the same, and all
// frames with their lines: tools/aramid-gdb.py.
#pragma once

#include <string>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0 {

/// Every fiber of the runtime that the calling fiber runs on (or its thread has entered): name, id, and whether it runs, is ready, has not
/// started or waits; then in what, on which object and since when, and its stack. The time is that of the last look at the clock that its
/// worker had before, so one that had computed for long before it waited seems to have waited that much longer. Fibers go on meanwhile:
/// each is seen at a moment of its own, and one that moves while it is looked at is given as ready. Frames need code that is built with
/// -fno-omit-frame-pointer; names of functions that are not exported need a program that has not been stripped.
/// Suspends: never; takes some milliseconds for each worker that runs a fiber, which is asked by a signal (SIGURG).
/// Throws:   std::logic_error if the caller belongs to no runtime; std::bad_alloc.
[[nodiscard]] ARAMID_API std::string dump_fibers();

}  // namespace aramid::inline v0
