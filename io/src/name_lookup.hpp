// One lookup of one name, by c-ares, waited for by the fiber (or thread) that asks. c-ares makes the
// queries, repeats them and reads the answers; it never waits. That is left to us:
//
//   1. A lookup has a channel of c-ares to itself. Making it reads resolv.conf and nsswitch.conf.
//   2. The question is put. c-ares answers at once (from /etc/hosts, or that it cannot ask), or opens
//      sockets. Of each socket it says what it waits for there, and when it closes it; that is kept in an
//      epoll descriptor.
//   3. While there is no answer: wait, by one poll operation on the epoll descriptor, until a socket is
//      ready or a query is to be repeated, and tell c-ares.
//   4. However that ends (an answer, a cancellation, an error), the operation is over before the wait
//      has returned (operation.hpp). So the channel can go with its sockets, and after it the epoll
//      descriptor: nothing of them is in the kernel or with anybody else.
//
// All of it is done by the one fiber, on whatever threads it happens to be: there is nothing to lock.
//
// Rejected:
//   - getaddrinfo(3) on the threads of `blocking`: each of them waits for one name. A hundred names
//     whose servers are gone keep everybody else from their answers for half a minute, and no thread
//     can be called back.
//   - One channel for all lookups, in a fiber of its own. It needs a lock, a way to call back, and an end. And c-ares (1.18)
//     sends all queries of a channel from one port, so who forges answers has 16 bits to guess
//     instead of 32 (RFC 5452, 9.2).
//   - An operation for each socket: one wait would be many of them.
//   - Our own DNS client: resolv.conf, search lists, truncation, servers that lie: others have been through it.
//   - A lookup each for A and AAAA, so that the one that comes first can be used (RFC 8305, 3). They would
//     search on their own: an IPv4 address that /etc/hosts gives a name would not keep the name's IPv6 addresses
//     from being taken from DNS.
#pragma once

#include <string>
#include <system_error>
#include <vector>

#include <aramid/detail/runtime_ref.hpp>
#include <aramid/io/endpoint.hpp>
#include <aramid/io/resolve.hpp>

namespace aramid::inline v0::detail {

/// The addresses of `name`, without ports. `options` have been looked at.
/// Suspends: until the answer has come. Cancels: throws aramid::cancelled; nothing of the lookup is left.
/// Returns:  at least one, in the order to try them, or `ec`, which is clear on entry.
/// Throws:   std::invalid_argument if a name server's address cannot be used; as `perform`.
[[nodiscard]] std::vector<io::endpoint> look_up(const std::string& name, const io::resolve_options& options,
                                                const runtime_ref& home, std::error_code& ec);

}  // namespace aramid::inline v0::detail
