// A soak: hours of what a server and its clients go through, after which the process has to be what it was at the beginning.
//
//     soak --seconds 600 --driver io_uring
//
// Both are in one process, so that its samples tell of both, and so that what was written on one side can be compared with what was read on the
// other (conversation.hpp). Rounds: for a while a crowd of clients churns; then they rest, and a sample is taken when all that they had has ended.
// Descriptors, threads, fibers, operations under way and connections have to be at every rest what they were before the first round. Memory is
// compared with the rest at the end of the warm-up: the heap and the process may have grown by what is allowed below, and no more, however long it
// took. Prints its seed first; the same seed makes the same choices, though not the same interleaving.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <exception>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <aramid/aramid.hpp>

#include "conversation.hpp"
#include "dice.hpp"
#include "resources.hpp"
#include "verdict.hpp"

using namespace aramid;
using namespace std::chrono_literals;
using namespace soak;

namespace {

constexpr int actor_count = 24, standing_count = 4;
constexpr std::size_t connections_most = 20;  // of fewer than may come, so that some wait in the kernel

// An allocator keeps pages, the pools of the runtime keep as many stacks as were ever in use at once, and a crowd in which more happens at once than
// ever before asks for more of both. A leak of 100 bytes a connection is ten times this after ten minutes.
constexpr std::uint64_t heap_growth_kib = 512, resident_growth_kib = 16 * 1024;

struct header {
  std::uint64_t key, check, server_seed;
  bool gives_back;
};

constexpr std::uint64_t check_of(std::uint64_t key) { return key * 0x9e3779b97f4a7c15U; }

struct stage {
  std::string directory;
  io::endpoint where;
  std::atomic<bool> over{false};  // the round
  std::atomic<std::uint64_t> acts{0}, accepted{0}, cut_short{0}, out_of_ports{0};
  std::mutex lock;  // held over no suspension
  std::map<std::uint64_t, std::shared_ptr<conversation>> to_come;  // whose client has not ended and whose server has not begun

  std::shared_ptr<conversation> take(std::uint64_t key) {
    const std::lock_guard guard(lock);
    const auto found = to_come.extract(key);
    return found.empty() ? nullptr : std::move(found.mapped());
  }
};

/// Server's side. Whatever the client does, it ends when the client has.
void serve(stage& s, io::tcp_stream stream) {
  ++s.accepted;
  header head{};
  dice d(s.accepted);
  std::error_code ec;
  while (!disturb(d, [&] { stream.read_exactly(std::as_writable_bytes(std::span(&head, 1)), ec); })) {
    ec.clear();
  }
  if (ec) {
    return;  // the client has gone away
  }
  if (head.check != check_of(head.key)) {
    return verdict::complain("a connection does not begin with what was written first");
  }
  dice mine(head.server_seed);
  if (head.gives_back) {
    return give_back(stream, mine);
  }
  std::shared_ptr<conversation> both = s.take(head.key);
  if (both == nullptr) {  // the client has ended, and what it has sent is still to be read
    both = std::make_shared<conversation>(head.key);
    both->there.written = unknown;
    both->broken_off = true;
  }
  take_part(*both, side::server, stream, mine);
}

/// Empty if it was cut short, or the machine has no port left: those of closed connections stay in use for a while.
io::tcp_stream connect_to(stage& s, dice& d, bool by_name) {
  io::tcp_stream stream;
  std::error_code ec;
  disturb(d, [&] { stream = by_name ? io::connect("localhost", s.where.port(), ec) : io::connect(s.where, ec); });
  if (ec == std::errc::address_not_available) {
    ++s.out_of_ports;
    this_fiber::sleep_for(5ms);
  } else if (ec) {
    verdict::complain("connect: " + ec.message());
  }
  return stream;
}

/// Client's side.
void converse(stage& s, dice& d) {
  const auto both = std::make_shared<conversation>(d.seed());
  struct forgetting {
    stage& s;
    conversation& both;
    bool begun = false;
    ~forgetting() {
      if (!begun) {
        both.broken_off = true;
      }
      s.take(both.key);
    }
  } guard{s, *both};
  io::tcp_stream stream = connect_to(s, d, d.below(8) == 0);
  if (!stream.is_open()) {
    return;
  }
  {
    const std::lock_guard held(s.lock);
    s.to_come.emplace(both->key, both);
  }
  const header head{both->key, check_of(both->key), d.seed(), false};
  const auto bytes = std::as_bytes(std::span(&head, 1));
  std::error_code ec;
  std::size_t written = 0;
  disturb(d, [&] { stream.write_all(bytes, written, ec); });
  if (written == bytes.size()) {
    guard.begun = true;
    take_part(*both, side::client, stream, d);
  }
}

void converse_and_be_cancelled(stage& s, dice& d) {
  fiber<> client = spawn([&s, seed = d.seed()] {
    dice mine(seed);
    converse(s, mine);
  });
  this_fiber::sleep_for(10 * d.a_while());
  client.cancel();
  try {
    client.join();
  } catch (const fiber_cancelled&) {
    ++s.cut_short;
  }
}

/// Connections on which nothing is sent: dropped, reset, or waited on in vain.
void connect_and_leave(stage& s, dice& d) {
  io::tcp_stream stream = connect_to(s, d, d.below(4) == 0);
  if (!stream.is_open()) {
    return;
  }
  std::array<std::byte, 16> buffer;
  if (d.below(2) == 0 && try_with_timeout(d.a_while(), [&] { return stream.read_some(buffer); }).has_value()) {
    verdict::complain("something was read on which nothing was written");
  }
  if (d.below(2) == 0) {
    stream.linger(0s);
  }
}

void be_refused(stage&, dice& d) {
  std::error_code ec;
  if (disturb(d, [&] { (void)io::connect(io::endpoint("127.0.0.1", 1), ec); }) && ec != std::errc::connection_refused &&
      ec != std::errc::address_not_available) {
    verdict::complain("a connection to a port where nobody listens: " + ec.message());
  }
}

/// A listener of its own, whose clients come, wait and go as they like.
void accept_some(stage& s, dice& d) {
  io::tcp_listener listener(io::endpoint("127.0.0.1", 0));
  const io::endpoint where = listener.local_endpoint();
  with_task_group([&](task_group& clients) {
    const int count = d.below(5);
    for (int i = 0; i != count; ++i) {
      clients.spawn([&where, mine = dice(d.seed())]() mutable {
        std::error_code ec;
        io::tcp_stream stream;
        disturb(mine, [&] { stream = io::connect(where, ec); });
        this_fiber::sleep_for(mine.a_while());
        if (stream.is_open() && mine.below(2) == 0) {
          stream.linger(0s, ec);
        }
      });
    }
    for (int i = 0; i != count; ++i) {
      std::error_code ec;
      io::tcp_stream taken;
      disturb(d, [&] { try_with_timeout(d.a_while(), [&] { taken = listener.accept(ec); }); });
      if (ec) {
        verdict::complain("accept: " + ec.message());
      }
      s.accepted += taken.is_open() ? 1 : 0;
    }
    if (d.below(2) == 0) {
      listener.close();  // with whoever waits there
    }
  });
}

void look_up(stage& s, dice& d) {
  std::error_code ec;
  std::vector<io::endpoint> found;
  if (disturb(d, [&] { found = io::resolve("localhost", s.where.port(), ec); }) && (ec || found.empty())) {
    verdict::complain("localhost is not found: " + ec.message());
  }
}

void use_a_file(stage& s, dice& d) {
  const std::string path = s.directory + '/' + std::to_string(d.seed());
  const pattern bytes(d.seed());
  std::vector<std::byte> buffer(static_cast<std::size_t>(1 + d.below(40'000)));
  struct removing {
    const std::string& path;
    ~removing() { ::unlink(path.c_str()); }
  } guard{path};
  io::file file;
  if (!disturb(d, [&] { file = io::file::open(path, {.read = true, .write = true, .create = true, .exclusive = true}); })) {
    return;
  }
  bytes.fill(buffer, 0);
  for (std::size_t done = 0; done != buffer.size();) {
    std::size_t written = 0;
    disturb(d, [&] { file.write_all(std::span(buffer).subspan(done), written); });
    done += written;
  }
  std::vector<std::byte> back(buffer.size() + 1);
  std::size_t count = 0;
  if (disturb(d, [&] { count = file.read_at(0, back); }) && (count != buffer.size() || !bytes.is(std::span(back).first(count), 0))) {
    verdict::complain("a file of " + std::to_string(buffer.size()) + " bytes gave back " + std::to_string(count) + " or others");
  }
}

void block(stage&, dice& d) {
  disturb(d, [&] { blocking([pause = d.a_while() / 4](const std::stop_token&) { std::this_thread::sleep_for(pause); }); });
}

void hand_over(stage&, dice& d) {
  channel<std::unique_ptr<int>> items(static_cast<std::size_t>(d.below(3)));
  std::atomic<int> sent{0};
  int received = 0;
  std::vector<fiber<>> senders;
  for (int i = d.below(6); i > 0; --i) {
    senders.push_back(spawn([&items, &sent, mine = dice(d.seed())]() mutable {
      for (int n = mine.below(10); n > 0; --n) {
        sent += items.send_for(std::make_unique<int>(n), mine.a_while()) == channel_status::ok ? 1 : 0;
      }
    }));
  }
  for (int i = d.below(30); i > 0; --i) {
    received += items.receive_for(d.a_while()) ? 1 : 0;
    if (!senders.empty() && d.below(10) == 0) {
      senders.pop_back();  // cancelled
    }
  }
  senders.clear();
  items.close();
  while (items.receive()) {
    ++received;
  }
  if (sent != received) {
    verdict::complain(std::to_string(sent) + " items were sent and " + std::to_string(received) + " received");
  }
}

void get_a_signal(stage&, dice& d) {
  io::signal_set signals{SIGUSR1};
  ::kill(::getpid(), SIGUSR1);
  disturb(d, [&] { signals.wait(); });
}

/// Connections are a budget: the kernel keeps the port of each that was closed in order for a minute, and there are 28,000 for the whole machine, also for
/// those who are not soaking.
class ports {
public:
  explicit ports(double seconds) : a_second_(std::max(100.0, 4000 / seconds)) {}

  bool take(int count) {
    const std::chrono::duration<double> passed = clock::now() - start_;
    const double available = a_second_ * (1 + passed.count());
    std::uint64_t used = used_;
    while (static_cast<double>(used) + count <= available) {
      if (used_.compare_exchange_weak(used, used + static_cast<std::uint64_t>(count))) {
        return true;
      }
    }
    return false;
  }

private:
  const double a_second_;
  const time_point start_ = clock::now();
  std::atomic<std::uint64_t> used_{0};
};

void act(stage& s, ports& budget, standing_connection* standing, dice& d) {
  struct action {
    void (*act)(stage&, dice&);
    int connections;  // at most
    int weight;
  };
  constexpr std::array<action, 10> actions{{{converse, 1, 5}, {converse_and_be_cancelled, 1, 2}, {connect_and_leave, 1, 2}, {be_refused, 0, 1},
                                            {accept_some, 4, 1}, {look_up, 0, 1}, {use_a_file, 0, 1}, {block, 0, 1}, {hand_over, 0, 1},
                                            {get_a_signal, 0, 1}}};
  if (standing != nullptr && d.below(4) == 0) {
    standing->use(d);
  } else {
    int at = d.below(16);
    const action* chosen = actions.data();
    for (; at >= chosen->weight; ++chosen) {
      at -= chosen->weight;
    }
    if (chosen->connections != 0 && !budget.take(chosen->connections)) {
      return this_fiber::sleep_for(d.a_while());
    }
    chosen->act(s, d);
  }
  ++s.acts;
}

/// The drivers of all workers, found by fibers that are on them.
std::vector<driver*> find_drivers(unsigned workers) {
  std::mutex lock;
  std::set<driver*> found;
  while (found.size() != workers) {
    task_group group;
    for (unsigned i = 0; i != 4 * workers; ++i) {
      group.spawn([&] {
        std::this_thread::sleep_for(1ms);  // so that the others have to come
        const std::lock_guard guard(lock);
        found.insert(detail::driver_for_io(nullptr));
      });
    }
    group.join();
  }
  return {found.begin(), found.end()};
}

class soaking {
public:
  soaking(std::uint64_t seed, double seconds) : budget_(seconds), dice_(seed), seconds_(seconds) {}

  bool run(const std::string& wanted_driver) {
    std::string directory = "soak.XXXXXX";
    s_.directory = ::mkdtemp(directory.data()) != nullptr ? directory : throw std::system_error(errno, std::generic_category(), "mkdtemp");
    io::tcp_server server(io::endpoint("127.0.0.1", 0), [this](io::tcp_stream stream) { serve(s_, std::move(stream)); },
                          {.max_connections = connections_most, .on_error = [](const std::exception_ptr& error) { complain_of(error, "server"); }});
    server_ = &server;
    s_.where = server.local_endpoint();
    fiber<> serving = spawn([&] { server.serve(); });
    for (int i = 0; i != standing_count; ++i) {
      const header head{0, check_of(0), dice_.seed(), true};
      io::tcp_stream stream = io::connect(s_.where);
      stream.write_all(std::as_bytes(std::span(&head, 1)));
      standing_.emplace_back(std::move(stream), dice_.seed());
    }
    while (server.stats().active != standing_count) {
      this_fiber::yield();
    }
    if (stats().driver != wanted_driver) {
      verdict::complain("the driver is " + std::string(stats().driver) + " and not " + wanted_driver);
    }
    drivers_ = find_drivers(stats().workers);
    churn();
    standing_.clear();
    server.drain(1min);
    serving.join();
    ::rmdir(directory.c_str());
    return verdict::good();
  }

private:
  static void complain_of(const std::exception_ptr& error, const char* whose) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& failure) {
      verdict::complain(std::string(whose) + ": " + failure.what());
    }
  }

  void churn() {
    const auto start = clock::now();
    const auto passed = [&] { return std::chrono::duration<double>(clock::now() - start).count(); };
    const resources first = rest(nullptr, false);
    print_header();
    print(0, first);
    const double round = std::clamp(seconds_ / 15, 0.5, 30.0), warm_up = std::min(seconds_ / 5, 60.0);
    resources warm;
    for (bool is_warm = false, is_over = false; !is_over && verdict::good();) {
      play(std::chrono::duration<double>(round));
      is_over = passed() >= seconds_;
      const resources now = rest(&first, is_over);
      print(passed(), now);
      if (is_warm) {
        compare_memory(warm, now);
      } else if (passed() >= warm_up) {
        is_warm = true;
        warm = now;
      }
    }
    std::cout << "soak: " << s_.acts << " acts, " << s_.accepted << " connections accepted, " << conversation::whole << " conversations whole, "
              << conversation::broken << " broken off, " << conversation::bytes_agreed << " bytes agreed upon, " << s_.cut_short
              << " clients cancelled, " << s_.out_of_ports << " times out of ports" << std::endl;
  }

  void play(std::chrono::duration<double> time) {
    s_.over = false;
    task_group actors(on_error::isolate, [](const std::exception_ptr& error) { complain_of(error, "client"); });
    for (int i = 0; i != actor_count; ++i) {
      actors.spawn([this, standing = i < standing_count ? &standing_[static_cast<std::size_t>(i)] : nullptr, d = dice(dice_.seed())]() mutable {
        while (!s_.over) {
          act(s_, budget_, standing, d);
        }
      });
    }
    this_fiber::sleep_for(time);
    s_.over = true;
    if (!try_with_timeout(2s, [&] { actors.join(); })) {
      std::cout << "soak: two seconds after the end of a round there are still\n" << dump_fibers() << std::endl;
      actors.join();
    }
  }

  [[nodiscard]] resources sample() const {
    const statistics now = stats();
    resources all = of_process(now.blocking_threads);
    all.fibers = now.fibers;
    all.stacks = now.stacks;
    all.connections = server_->stats().active;
    for (const driver* const each : drivers_) {
      all.operations += each->in_flight();
    }
    return all;
  }

  /// What there is when everything has ended that ends: what ends by itself is waited for, but not for ever. `quiet`: threads that wait for work too.
  resources rest(const resources* before, bool quiet) {
    const auto patience = clock::now() + 60s;
    for (;;) {
      this_fiber::sleep_for(50ms);
      const resources now = sample();
      const std::string different = before != nullptr ? differences(*before, now) : "";
      // io_uring keeps a thread or two for each ring.
      const bool threads_left = now.pool_threads != 0 || now.kernel_threads > 2 * drivers_.size();
      if (different.empty() && !(quiet && threads_left)) {
        return now;
      }
      if (clock::now() > patience) {
        verdict::complain("does not come to rest: " + (different.empty() ? "threads that wait for work do not end" : different));
        std::cout << list_of_descriptors() << dump_fibers() << std::endl;
        return now;
      }
    }
  }

  static void compare_memory(const resources& warm, const resources& now) {
    const auto compare = [](const char* what, std::uint64_t was, std::uint64_t is, std::uint64_t allowed) {
      if (is > was + allowed) {
        verdict::complain(std::string(what) + " has grown from " + std::to_string(was) + " to " + std::to_string(is) + " KiB");
      }
    };
    compare("the heap", warm.heap_kib, now.heap_kib, heap_growth_kib);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they keep what has been freed, or shadows of it
    compare("the process", warm.resident_kib, now.resident_kib, resident_growth_kib);
#endif
  }

  static void print_header() {
    std::cout << " seconds descriptors threads fibers operations connections | pool kernel stacks | heap KiB resident KiB |      acts" << std::endl;
  }

  void print(double seconds, const resources& now) const {
    std::cout << std::fixed << std::setprecision(1) << std::setw(8) << seconds << std::setw(12) << now.descriptors << std::setw(8) << now.threads
              << std::setw(7) << now.fibers << std::setw(11) << now.operations << std::setw(12) << now.connections << " |" << std::setw(5)
              << now.pool_threads << std::setw(7) << now.kernel_threads << std::setw(7) << now.stacks << " |" << std::setw(9) << now.heap_kib
              << std::setw(13) << now.resident_kib << " |" << std::setw(10) << s_.acts << std::endl;
  }

  stage s_;
  ports budget_;
  dice dice_;
  const double seconds_;
  io::tcp_server* server_ = nullptr;
  std::deque<standing_connection> standing_;
  std::vector<driver*> drivers_;
};

}  // namespace

int main(int argc, char** argv) {
  double seconds = 600;
  std::uint64_t seed = std::random_device()() * std::uint64_t{0x9e3779b9} + std::random_device()();
  options opts{.blocking_threads = 8, .driver = "io_uring"};
  CLI::App app("A server and its clients for a long time; fails if at the end there is more of anything than at the beginning, or a byte less.");
  app.add_option("--seconds", seconds, "how long")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--driver", opts.driver, "io_uring, epoll or fake")->capture_default_str();
  app.add_option("--workers", opts.workers, "threads; 0 is one per CPU")->capture_default_str();
  app.add_option("--seed", seed, "of the choices; the one of an earlier run makes the same");
  CLI11_PARSE(app, argc, argv);
  std::cout << "soak: --driver " << opts.driver << " --seconds " << seconds << " --seed " << seed << std::endl;
  std::signal(SIGUSR1, SIG_IGN);  // what it does when no signal_set has it
  const bool good = aramid::run([&] { return soaking(seed, seconds).run(opts.driver); }, opts);
  std::cout << (good ? "soak: nothing lost, doubled or left over" : "soak: FAILED") << std::endl;
  return good ? 0 : 1;
}
