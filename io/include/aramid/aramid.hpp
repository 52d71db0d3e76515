// Everything: the runtime and its I/O.
#pragma once

#include <aramid/barrier.hpp>
#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/channel_ends.hpp>
#include <aramid/condition_variable.hpp>
#include <aramid/driver.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/fiber_local.hpp>
#include <aramid/io/endpoint.hpp>
#include <aramid/io/error.hpp>
#include <aramid/io/file.hpp>
#include <aramid/io/signal.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/latch.hpp>
#include <aramid/mutex.hpp>
#include <aramid/park.hpp>
#include <aramid/promise.hpp>
#include <aramid/run.hpp>
#include <aramid/select.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/shared_mutex.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>
#include <aramid/version.hpp>
