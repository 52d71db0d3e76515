// Names to addresses, asked of a name server of the test's own.
#include <aramid/io/resolve.hpp>

#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "dns_server.hpp"
#include "leak_check.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::dead_port;
using aramid::test::dns_habit;
using aramid::test::dns_record;
using aramid::test::dns_server;
using aramid::test::look_at_process;
using aramid::test::scaled;

class resolve_name : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(resolve_name);

std::vector<std::string> hosts_of(const std::vector<endpoint>& found) {
  std::vector<std::string> hosts;
  for (const endpoint& each : found) {
    hosts.push_back(each.host());
  }
  return hosts;
}

using hosts = std::vector<std::string>;

std::string numbered(std::string before, int number, std::string_view behind = {}) {
  return before.append(std::to_string(number)).append(behind);
}

bool has_ipv6() {
  const int fd = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const endpoint local("::1", 0);
  const bool bound = fd >= 0 && ::bind(fd, local.data(), local.size()) == 0;
  ::close(fd);
  return bound;
}

/// What the throwing form says; both forms must give the same code.
std::string failure_of(const char* host, const resolve_options& options, resolve_errc expected) {
  std::error_code ec;
  EXPECT_TRUE(resolve(host, 80, options, ec).empty());
  EXPECT_EQ(ec, expected) << host << ": " << ec.message();
  try {
    (void)resolve(host, 80, options);
    ADD_FAILURE() << host;
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), expected) << e.what();
    return e.what();
  }
  return "";
}

TEST_P(resolve_name, numeric_hosts_are_not_asked_for) {
  dns_server server({});
  run([&] {
    EXPECT_EQ(resolve("127.0.0.1", 80, server.patient()), std::vector{endpoint("127.0.0.1", 80)});
    EXPECT_EQ(resolve("::1", 443, server.patient()), std::vector{endpoint("::1", 443)});
    EXPECT_EQ(resolve("fe80::1%lo", 1, server.patient()), std::vector{endpoint("fe80::1%lo", 1)});
    EXPECT_EQ(resolve("0.0.0.0", 0, server.patient()), std::vector{endpoint("0.0.0.0", 0)});
    std::error_code ec = std::make_error_code(std::errc::io_error);
    EXPECT_EQ(resolve("127.0.0.1", 80, ec).size(), 1U);
    EXPECT_FALSE(ec);
    resolve_options v6 = server.patient();
    v6.family = AF_INET6;
    EXPECT_NE(failure_of("127.0.0.1", v6, resolve_errc::no_data).find("resolve \"127.0.0.1\""), std::string::npos);
  });
  EXPECT_EQ(server.all_asked(), hosts());
}

TEST_P(resolve_name, both_families_are_asked_for_and_come_with_the_port) {
  dns_server server({{"both.test", {{"127.0.0.2"}, {"::1"}}}});
  run([&] {
    std::vector<endpoint> expected{endpoint("::1", 8080), endpoint("127.0.0.2", 8080)};
    if (!has_ipv6()) {
      std::swap(expected[0], expected[1]);
    }
    EXPECT_EQ(resolve("both.test.", 8080, server.patient()), expected);
  });
  std::vector<std::string> asked = server.all_asked();
  std::sort(asked.begin(), asked.end());
  EXPECT_EQ(asked, (hosts{"A both.test", "AAAA both.test"}));
}

TEST_P(resolve_name, only_the_family_that_is_wanted_is_asked_for) {
  dns_server server({{"both.test", {{"127.0.0.2"}, {"::1"}}}, {"four.test", {{"127.0.0.2"}, {}}}});
  run([&] {
    resolve_options options = server.patient();
    options.family = AF_INET;
    EXPECT_EQ(hosts_of(resolve("both.test.", 1, options)), hosts{"127.0.0.2"});
    options.family = AF_INET6;
    EXPECT_EQ(hosts_of(resolve("both.test.", 1, options)), hosts{"::1"});
    failure_of("four.test.", options, resolve_errc::no_data);
  });
  EXPECT_EQ(server.all_asked(), (hosts{"A both.test", "AAAA both.test", "AAAA four.test", "AAAA four.test"}));
}

TEST_P(resolve_name, addresses_on_a_par_keep_the_order_of_the_answer_and_come_once) {
  dns_server server({{"many.test", {{"127.0.0.4", "127.0.0.2", "127.0.0.4", "127.0.0.3"}, {}}}});
  run([&] {
    EXPECT_EQ(hosts_of(resolve("many.test.", 1, server.patient())), (hosts{"127.0.0.4", "127.0.0.2", "127.0.0.3"}));
  });
}

// RFC 6724: what there is no way to comes last (rule 1); if there is one, the nearer comes first (rule 8). Nothing is sent to either.
TEST_P(resolve_name, what_is_near_comes_first) {
  dns_server server({{"far.test", {{"192.0.2.1", "127.0.0.2"}, {}}}});
  run([&] { EXPECT_EQ(hosts_of(resolve("far.test.", 1, server.patient())), (hosts{"127.0.0.2", "192.0.2.1"})); });
}

TEST_P(resolve_name, an_alias_is_followed) {
  dns_server server({{"www.test", {{"127.0.0.5"}, {}, dns_habit::answers, "other.test"}}});
  run([&] { EXPECT_EQ(hosts_of(resolve("www.test.", 1, server.patient())), hosts{"127.0.0.5"}); });
}

TEST_P(resolve_name, the_hosts_file_comes_first) {
  dns_server server({{"localhost", {{"127.9.9.9"}, {}}}});
  run([&] {
    for (const endpoint& each : resolve("localhost", 80, server.patient())) {
      EXPECT_TRUE(each.host() == "127.0.0.1" || each.host() == "::1") << each.to_string();
      EXPECT_EQ(each.port(), 80);
    }
  });
  EXPECT_EQ(server.all_asked(), hosts());
}

// Each name and alias as the C library reads the same file.
TEST_P(resolve_name, services_of_the_file) {
  std::vector<std::string> names;
  ::setservent(1);
  while (const servent* const each = ::getservent()) {
    names.emplace_back(each->s_name);
    for (char** alias = each->s_aliases; *alias != nullptr; ++alias) {
      names.emplace_back(*alias);
    }
  }
  ::endservent();
  if (!std::filesystem::exists("/etc/services")) {
    GTEST_SKIP() << "no /etc/services here";
  }
  run([&] {
    for (const std::string& name : names) {
      const servent* known = ::getservbyname(name.c_str(), "tcp");
      known = known != nullptr ? known : ::getservbyname(name.c_str(), nullptr);
      ASSERT_NE(known, nullptr);
      EXPECT_EQ(resolve("127.0.0.1", name), std::vector{endpoint("127.0.0.1", ntohs(static_cast<std::uint16_t>(known->s_port)))}) << name;
    }
  });
}

TEST_P(resolve_name, services) {
  dns_server server({{"a.test", {{"127.0.0.2"}, {}}}});
  run([&] {
    EXPECT_EQ(resolve("127.0.0.1", "8080"), std::vector{endpoint("127.0.0.1", 8080)});
    EXPECT_EQ(resolve("a.test.", "0", server.patient()), std::vector{endpoint("127.0.0.2", 0)});
    std::error_code ec;
    // A machine without /etc/services knows no names.
    const servent* const known = ::getservbyname("http", "tcp");
    const std::vector<endpoint> found = resolve("a.test.", "http", server.patient(), ec);
    EXPECT_EQ(ec, known != nullptr ? std::error_code() : resolve_errc::bad_service);
    EXPECT_EQ(found.size(), known != nullptr ? 1U : 0U);
    EXPECT_EQ(found.empty() ? 80 : found.front().port(), 80);
    for (const std::string& bad : {std::string(), std::string("65536"), std::string("-1"), std::string("+80"), std::string("80 "),
                                   std::string("no-such-service"), std::string("http\0", 5), std::string(5000, 'x')}) {
      EXPECT_TRUE(resolve("127.0.0.1", bad, ec).empty());
      EXPECT_EQ(ec, resolve_errc::bad_service) << bad;
      EXPECT_EQ(ec, std::errc::invalid_argument);
    }
    try {
      (void)resolve("a.test", "no-such-service");
      ADD_FAILURE();
    } catch (const std::system_error& e) {
      EXPECT_NE(std::string(e.what()).find("resolve \"a.test\", service \"no-such-service\""), std::string::npos) << e.what();
    }
  });
}

TEST_P(resolve_name, every_failure_has_its_code_and_names_the_host) {
  dns_server server({{"ill.test", {{}, {}, dns_habit::servfail}},
                     {"closed.test", {{}, {}, dns_habit::refused}},
                     {"gone.test", {{}, {}, dns_habit::nxdomain}},
                     {"empty.test", {}},
                     {"broken.test", {{"127.0.0.2"}, {"::1"}, dns_habit::garbage}}});
  run([&] {
    const auto fails = [&](const char* host, resolve_errc code, const char* message) {
      EXPECT_EQ(failure_of(host, server.patient(), code), "resolve \"" + std::string(host) + "\": " + message);
    };
    fails("gone.test.", resolve_errc::host_not_found, "there is no host of that name");
    fails("empty.test.", resolve_errc::no_data, "the name has no address of the kind that was asked for");
    fails("ill.test.", resolve_errc::server_failure, "no name server gave an answer that can be used");
    fails("closed.test.", resolve_errc::server_failure, "no name server gave an answer that can be used");
    fails("broken.test.", resolve_errc::server_failure, "no name server gave an answer that can be used");
  });
  EXPECT_NE(std::error_code(resolve_errc::host_not_found), std::errc::timed_out);
  EXPECT_EQ(std::string(resolve_category().name()), "aramid.resolve");
}

TEST_P(resolve_name, what_cannot_be_a_name_is_not_asked_for) {
  dns_server server({});
  run([&] {
    const std::string part(63, 'a');
    for (const std::string& bad :
         {std::string(), std::string("."), std::string("a..b"), std::string(".a"), std::string("a b"), std::string("a\n"),
          std::string("a\0b", 3), std::string("\0", 1), std::string(64, 'a') + ".test.", std::string(254, 'a'),
          part + '.' + part + '.' + part + '.' + part, std::string(100'000, 'a'), std::string("1.2.3"), std::string("256.1.1.1"),
          std::string("1.2.3.4."), std::string("::g"), std::string("[::1]"), std::string("fe80::1%no-such-interface"),
          std::string("a.test:80"), std::string("http://a.test/"), std::string("a\\.test")}) {
      std::error_code ec;
      EXPECT_TRUE(resolve(bad, 80, server.patient(), ec).empty());
      EXPECT_EQ(ec, resolve_errc::bad_name) << bad;
      EXPECT_EQ(ec, std::errc::invalid_argument);
    }
    EXPECT_EQ(failure_of("a\nb", server.patient(), resolve_errc::bad_name),
              "resolve \"a?b\": neither the name of a host nor a numeric address");
  });
  EXPECT_EQ(server.all_asked(), hosts());
}

TEST_P(resolve_name, the_longest_name_and_bytes_that_are_not_ascii_are_asked_for_as_they_are) {
  const std::string part(63, 'a');
  const std::string longest = part + '.' + part + '.' + part + '.' + std::string(61, 'b');
  dns_server server({{longest, {{"127.0.0.2"}, {}}}, {"b\xc3\xbc" "cher.test", {{"127.0.0.3"}, {}}}, {"under_score.test", {{"127.0.0.4"}, {}}}});
  run([&] {
    EXPECT_EQ(hosts_of(resolve(longest + '.', 1, server.patient())), hosts{"127.0.0.2"});
    EXPECT_EQ(hosts_of(resolve("b\xc3\xbc" "cher.test.", 1, server.patient())), hosts{"127.0.0.3"});
    EXPECT_EQ(hosts_of(resolve("under_score.test.", 1, server.patient())), hosts{"127.0.0.4"});
  });
}

TEST_P(resolve_name, misuse_is_an_invalid_argument_in_both_forms) {
  run([] {
    std::error_code ec;
    const auto throws = [&](const resolve_options& options) {
      EXPECT_THROW((void)resolve("127.0.0.1", 80, options), std::invalid_argument);
      EXPECT_THROW((void)resolve("127.0.0.1", "80", options, ec), std::invalid_argument);
    };
    throws({.family = AF_UNIX});
    throws({.timeout = 0s});
    throws({.tries = 0});
    throws({.nameservers = {endpoint()}});
    EXPECT_THROW((void)resolve("a.test.", 80, {.nameservers = {endpoint("fe80::1%lo", 53)}}, ec), std::invalid_argument);
  });
}

TEST_P(resolve_name, truncated_answer_is_asked_for_again_over_tcp) {
  dns_record big{.habit = dns_habit::truncates};
  for (int i = 1; i <= 200; ++i) {
    big.v4.push_back(numbered("127.0.1.", i));
  }
  dns_server server({{"big.test", big}});
  run([&] {
    resolve_options options = server.patient();
    options.family = AF_INET;
    EXPECT_EQ(hosts_of(resolve("big.test.", 1, options)), big.v4);
  });
  EXPECT_EQ(server.all_asked(), (hosts{"A big.test", "tcp A big.test"}));
}

TEST_P(resolve_name, an_answer_to_another_question_is_no_answer) {
  dns_server server({{"prey.test", {{"127.0.0.2"}, {}, dns_habit::lies_first}}});
  run([&] { EXPECT_EQ(hosts_of(resolve("prey.test.", 1, server.patient())), hosts{"127.0.0.2"}); });
}

TEST_P(resolve_name, a_question_that_was_lost_is_repeated) {
  dns_server server({{"deaf.test", {{"127.0.0.2"}, {}, dns_habit::deaf_at_first}}});
  run([&] { EXPECT_EQ(hosts_of(resolve("deaf.test.", 1, server.hasty())), hosts{"127.0.0.2"}); });
}

TEST_P(resolve_name, a_server_that_never_answers_is_timed_out_after_so_many_tries) {
  dns_server server({{"hole.test", {{}, {}, dns_habit::silent}}});
  run([&] {
    resolve_options options = server.hasty();
    options.tries = 3;
    options.family = AF_INET;
    EXPECT_EQ(failure_of("hole.test.", options, resolve_errc::timed_out), "resolve \"hole.test.\": no name server answered in time");
    EXPECT_EQ(std::error_code(resolve_errc::timed_out), std::errc::timed_out);
    for (int i = 0; i < 6; ++i) {  // two calls; the server may be behind
      EXPECT_EQ(server.asked(), "A hole.test");
    }
  });
  EXPECT_EQ(server.all_asked(), hosts(6, "A hole.test"));
}

TEST_P(resolve_name, the_next_server_is_asked_when_one_is_silent_ill_or_not_there) {
  dns_server silent({{"a.test", {{}, {}, dns_habit::silent}}});
  dns_server ill({{"a.test", {{}, {}, dns_habit::servfail}}});
  dns_server good({{"a.test", {{"127.0.0.2"}, {}}}});
  run([&] {
    resolve_options options = good.hasty();
    options.nameservers = {silent.where(), good.where()};
    EXPECT_EQ(hosts_of(resolve("a.test.", 1, options)), hosts{"127.0.0.2"});

    // Nobody is waited for here.
    const dead_port nobody;
    options = good.patient();
    options.nameservers = {ill.where(), nobody.where(), good.where()};
    options.tries = 2;
    EXPECT_EQ(hosts_of(resolve("a.test.", 1, options)), hosts{"127.0.0.2"});
    options.nameservers = {nobody.where()};
    failure_of("a.test.", options, resolve_errc::server_failure);
  });
}

TEST_P(resolve_name, cancellation_ends_the_wait) {
  dns_server server({{"hole.test", {{}, {}, dns_habit::silent}}});
  run([&] {
    fiber<> waiting = spawn([&] { (void)resolve("hole.test.", 80, server.patient()); });
    (void)server.asked();
    (void)server.asked();
    waiting.cancel();
    EXPECT_THROW(waiting.join(), fiber_cancelled);

    std::error_code ec;
    EXPECT_THROW((void)with_timeout(5ms, [&] { return resolve("hole.test.", "80", server.patient(), ec); }), timeout_error);
  });
}

TEST_P(resolve_name, cancellation_is_seen_on_entry_before_anything_is_asked) {
  dns_server server({{"a.test", {{"127.0.0.2"}, {}}}});
  run([&] {
    std::error_code ec;
    const auto throws = [](auto&& call) {
      cancel_scope scope;
      scope.cancel();
      EXPECT_FALSE(scope.run(call));
    };
    throws([&] { (void)resolve("a.test.", 80, server.patient()); });
    throws([&] { (void)resolve("a.test.", 80, server.patient(), ec); });
    throws([&] { (void)resolve("a.test.", "80", server.patient(), ec); });
    throws([&] { (void)resolve("127.0.0.1", 80); });
    throws([&] { (void)resolve("", 80, ec); });
  });
  EXPECT_EQ(server.all_asked(), hosts());
}

TEST_P(resolve_name, a_hundred_that_are_never_answered_do_not_delay_a_good_one) {
  dns_server server({{"*.hole.test", {{}, {}, dns_habit::silent}}, {"good.test", {{"127.0.0.2"}, {}}}});
  run([&] {
    EXPECT_EQ(hosts_of(resolve("good.test.", 80, server.patient())), hosts{"127.0.0.2"});
    EXPECT_TRUE(server.asked().ends_with("good.test"));
    EXPECT_TRUE(server.asked().ends_with("good.test"));
    const int threads = look_at_process().threads;
    std::vector<fiber<>> waiting;
    for (int i = 0; i < 100; ++i) {
      waiting.push_back(spawn([&, i] { (void)resolve(numbered("n", i, ".hole.test."), 80, server.patient()); }));
    }
    for (int i = 0; i < 200; ++i) {
      EXPECT_TRUE(server.asked().ends_with(".hole.test"));
    }
    EXPECT_EQ(look_at_process().threads, threads);
    EXPECT_EQ(hosts_of(resolve("good.test.", 80, server.patient())), hosts{"127.0.0.2"});
    for (fiber<>& each : waiting) {
      EXPECT_FALSE(each.done());
      each.cancel();
    }
    for (fiber<>& each : waiting) {
      EXPECT_THROW(each.join(), fiber_cancelled);
    }
  });
}

// Lookups that are answered, repeated, refused and not answered, cancelled at any moment, on all workers at once. What was
// answered is right; what is left over the fixture finds.
TEST_P(resolve_name, cancel_versus_answer) {
  dns_server server({{"good.test", {{"127.0.0.2"}, {"::1"}}},
                     {"deaf.test", {{"127.0.0.2"}, {"::1"}, dns_habit::deaf_at_first}},
                     {"big.test", {{"127.0.0.2"}, {"::1"}, dns_habit::truncates}},
                     {"ill.test", {{}, {}, dns_habit::servfail}},
                     {"hole.test", {{}, {}, dns_habit::silent}}});
  run([&] {
    with_task_group([&](task_group& group) {
      for (unsigned seed = 0; seed < 8; ++seed) {
        group.spawn([&, seed] {
          std::mt19937 random(seed);
          for (int i = scaled(60, 6); i > 0; --i) {
            const std::array names{"good.test.", "deaf.test.", "big.test.", "ill.test.", "hole.test.", "localhost"};
            const std::string name = names[random() % names.size()];
            resolve_options options = server.hasty();
            if (name == "big.test.") {
              options.timeout = 10s;  // over a connection c-ares does not repeat itself
            }
            fiber<std::vector<endpoint>> asking = spawn([&] { return resolve(name, 80, options); });
            switch (random() % 3) {
              case 0:
                for (unsigned n = random() % 16; n > 0; --n) {
                  this_fiber::yield();
                }
                break;
              case 1:
                this_fiber::sleep_for(std::chrono::microseconds(random() % 2000));
                break;
              default:
                break;
            }
            if (name == "hole.test." || random() % 4 != 0) {
              asking.cancel();
            }
            try {
              const std::vector<endpoint> found = asking.join();
              EXPECT_TRUE(name == "localhost" || found.size() == 2) << name;
            } catch (const fiber_cancelled&) {
            } catch (const std::system_error& e) {
              EXPECT_EQ(name, "ill.test.") << e.what();
            }
          }
        });
      }
    });
  });
}

TEST_P(resolve_name, many_at_once_get_each_its_own) {
  std::map<std::string, dns_record> zone;
  for (int i = 0; i < 100; ++i) {
    zone[numbered("n", i, ".test")] = {{numbered("127.0.2.", i)}, {}};
  }
  dns_server server(zone);
  run([&] {
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 100; ++i) {
        group.spawn([&, i] {
          // On a full machine a datagram may be dropped.
          resolve_options options = server.hasty();
          options.timeout = 200ms;
          EXPECT_EQ(hosts_of(resolve(numbered("n", i, ".test."), 1, options)), hosts{numbered("127.0.2.", i)});
        });
      }
    });
  });
}

/// Leaves `count` descriptors.
class few_descriptors_left {
public:
  explicit few_descriptors_left(rlim_t count) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit now = before_;
    const int lowest_free = ::dup(0);
    now.rlim_cur = static_cast<rlim_t>(lowest_free) + count;
    ::close(lowest_free);
    ::setrlimit(RLIMIT_NOFILE, &now);
  }
  ~few_descriptors_left() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
  rlimit before_{};
};

TEST_P(resolve_name, out_of_descriptors_it_says_so) {
#if defined(ARAMID_UNDER_UBSAN)
  GTEST_SKIP() << "UBSan's vptr check needs free descriptors of its own";
#endif
  dns_server server({{"a.test", {{"127.0.0.2"}, {}}}});
  run([&] {
    EXPECT_EQ(resolve("a.test.", 80, server.patient()).size(), 1U);  // the runtime has its rings
    for (const rlim_t left : {rlim_t{0}, rlim_t{1}}) {
      std::error_code ec;
      {
        const few_descriptors_left limit(left);
        EXPECT_TRUE(resolve("a.test.", 80, server.patient(), ec).empty());
      }
      EXPECT_EQ(ec, std::errc::too_many_files_open) << left << ": " << ec.message();
    }
    EXPECT_EQ(resolve("a.test.", 80, server.patient()).size(), 1U);
  });
}

TEST_P(resolve_name, by_a_thread_that_is_no_fiber) {
  dns_server server({{"a.test", {{"127.0.0.2"}, {}}}, {"hole.test", {{}, {}, dns_habit::silent}}});
  std::error_code ec;
  EXPECT_THROW((void)resolve("127.0.0.1", 80), std::logic_error);
  EXPECT_THROW((void)resolve("a.test.", 80, server.patient(), ec), std::logic_error);
  try {
    (void)resolve("a.test.", "80", server.patient(), ec);
    FAIL();
  } catch (const std::logic_error& e) {
    EXPECT_NE(std::string(e.what()).find("resolve"), std::string::npos) << e.what();
  }
  runtime rt(GetParam().opts());
  const auto inside = rt.enter();
  EXPECT_EQ(hosts_of(resolve("a.test.", 80, server.patient())), hosts{"127.0.0.2"});
  EXPECT_EQ(resolve("::1", 80).size(), 1U);
  EXPECT_THROW((void)with_timeout(5ms, [&] { return resolve("hole.test.", 80, server.patient()); }), timeout_error);
  failure_of("nobody.test.", server.patient(), resolve_errc::host_not_found);
}

}  // namespace
