// Opening all connections: a batch at a time, refused ones again, bounded in time.
#pragma once

#include "connection.hpp"
#include "options.hpp"

#include <vector>

namespace net_load {

/// Raises the descriptor limit as far as allowed and checks that `connections` fit.
/// Throws: bad_usage.
void reserve_descriptors(unsigned connections);

/// Returns: the address of --host and --port.
/// Throws: bad_usage.
server_address resolve(const options& settings);

/// Connects every member of `connections`. A connect that is refused, or finds the backlog or the
/// local ports full, is tried again until --timeout.
/// Throws: server_unreachable, bad_usage.
void connect_all(const options& settings, const server_address& server,
                 std::vector<connection>& connections);

}  // namespace net_load
