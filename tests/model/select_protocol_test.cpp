// detail/select_case.hpp and select_loop.hpp over channels and an event: exactly one case happens, no item is lost or doubled, and nobody
// sleeps for ever.
#include <aramid/select.hpp>

#include <array>
#include <set>
#include <tuple>

#include "modelled_product.hpp"

namespace {

using namespace model;
using aramid::on_receive;
using aramid::on_send;
using aramid::on_set;
using aramid::select;

using channel = aramid::channel<item>;

int value_of(const std::optional<item>& received) { return received ? received->value() : 0; }

/// What one selector has done: how often a handler ran, what went out and what came in.
struct done {
  int cases = 0;
  int sent = 0;
  int received = 0;

  auto sending(int value) {
    return [this, value] {
      ++cases;
      sent += value;
    };
  }
  auto receiving() {
    return [this](std::optional<item> got) {
      ++cases;
      received += value_of(got);
    };
  }
  auto counting() {
    return [this] { ++cases; };
  }
};

// Both may send the one and receive the other, and name their cases in any order: each is the other's only hope.
void two_meet_crosswise(bool one_wavers) {
  channel a;
  channel b;
  done first;
  done second;
  together(
      [&] {
        item mine(1);
        const auto meet = [&] {
          select(on_send(a, std::move(mine), first.sending(1)), on_receive(b, first.receiving()));
        };
        if (!one_wavers || !unless_cancelled(meet)) {
          MODEL_ASSERT(first.cases == 0 && mine.value() == 1);
          meet();
        }
        MODEL_ASSERT(mine.value() == (first.sent == 1 ? 0 : 1));
      },
      [&] {
        item mine(2);
        select(on_send(b, std::move(mine), second.sending(2)), on_receive(a, second.receiving()));
        MODEL_ASSERT(mine.value() == (second.sent == 2 ? 0 : 2));
      });
  MODEL_ASSERT(first.cases == 1 && second.cases == 1);
  MODEL_ASSERT(first.sent == second.received && second.sent == first.received);
}

// Each would send as well as receive on the same channel, and must not meet itself.
void two_meet_on_one_channel() {
  channel between;
  done first;
  done second;
  const auto meet = [&](done& mine, int value) {
    select(on_send(between, item(value), mine.sending(value)), on_receive(between, mine.receiving()));
  };
  together([&] { meet(first, 1); }, [&] { meet(second, 2); });
  MODEL_ASSERT(first.cases == 1 && second.cases == 1);
  MODEL_ASSERT(first.sent == second.received && second.sent == first.received);
}

// The same with somebody who only sends.
void one_meets_a_sender_on_one_channel() {
  channel between;
  done mine;
  together(
      [&] {
        select(on_send(between, item(2), mine.sending(2)), on_receive(between, mine.receiving()));
      },
      [&] { between.send(item(1)); });
  MODEL_ASSERT(mine.cases == 1 && mine.received == 1);
}

// Two plain senders; whom the selection did not take is still there.
void one_of_two_senders(std::size_t capacity, bool wavers) {
  channel a(capacity);
  channel b(capacity);
  done mine;
  together(
      [&] {
        const auto meet = [&] { select(on_receive(a, mine.receiving()), on_receive(b, mine.receiving())); };
        if (!wavers || !unless_cancelled(meet)) {
          MODEL_ASSERT(mine.received == 0);
          meet();
        }
        MODEL_ASSERT(mine.cases == 1 && (mine.received == 1 || mine.received == 2));
        mine.received += value_of(mine.received == 1 ? b.receive() : a.receive());
      },
      [&] { a.send(item(1)); }, [&] { b.send(item(2)); });
  MODEL_ASSERT(mine.received == 3);
}

// Two plain receivers, in the same way. A slot takes the item that nobody waits for.
void one_of_two_receivers(std::size_t capacity) {
  channel a(capacity);
  channel b(capacity);
  done mine;
  int from_a = 0;
  int from_b = 0;
  together(
      [&] {
        item own(1);
        const std::size_t which = select(on_send(a, std::move(own), mine.sending(1)),
                                         on_send(b, std::move(own), mine.sending(1)));
        MODEL_ASSERT(mine.cases == 1 && own.value() == 0);
        (which == 0 ? b : a).send(item(2));
      },
      [&] { from_a = value_of(a.receive()); }, [&] { from_b = value_of(b.receive()); });
  MODEL_ASSERT(from_a + from_b == 3 && from_a != 0 && from_b != 0);
}

// The event, the item or the deadline. A sender that is left alone gives up, and has its item still.
void event_item_or_deadline() {
  channel a;
  aramid::event stop;
  done mine;
  bool sent = false;
  together(
      [&] {
        select(on_set(stop, mine.counting()), on_receive(a, mine.receiving()), aramid::after(some_time, mine.counting()));
      },
      [&] { stop.set(); },
      [&] {
        item own(1);
        sent = a.send_for(std::move(own), at_last) == aramid::channel_status::ok;
        MODEL_ASSERT(own.value() == (sent ? 0 : 1));
      });
  MODEL_ASSERT(mine.cases == 1);
  MODEL_ASSERT(mine.received == (sent ? 1 : 0));
}

// One channel closes while an item may come through the other.
void close_against_send() {
  channel a;
  channel b;
  done mine;
  bool sent = false;
  together(
      [&] { select(on_receive(a, mine.receiving()), on_receive(b, mine.receiving())); }, [&] { a.close(); },
      [&] { sent = b.send_for(item(2), at_last) == aramid::channel_status::ok; });
  MODEL_ASSERT(mine.cases == 1);
  MODEL_ASSERT(mine.received == (sent ? 2 : 0));
}

// Three in a ring: two of them meet, and the third gives up.
void three_in_a_ring() {
  std::array<channel, 3> ring;
  std::array<done, 3> each;
  std::array<bool, 3> late{};
  const auto meet = [&](std::size_t me) {
    select(on_send(ring[me], item(1 << me), each[me].sending(1 << me)),
           on_receive(ring[(me + 1) % 3], each[me].receiving()), aramid::after(at_last, [&, me] { late[me] = true; }));
  };
  together([&] { meet(0); }, [&] { meet(1); }, [&] { meet(2); });
  int sent = 0;
  int received = 0;
  for (std::size_t me = 0; me != 3; ++me) {
    MODEL_ASSERT(each[me].cases + (late[me] ? 1 : 0) == 1);
    sent += each[me].sent;
    received += each[me].received;
  }
  MODEL_ASSERT(sent == received);
  MODEL_ASSERT(late[0] || late[1] || late[2]);
}

const std::vector<scenario> scenarios{
    {"two meet crosswise", [] { two_meet_crosswise(false); }, 4},
    {"two meet crosswise, one is cancelled", [] { two_meet_crosswise(true); }, 4},
    {"two meet on one channel", &two_meet_on_one_channel, 4},
    {"one meets a sender on one channel", &one_meets_a_sender_on_one_channel, 4},
    {"one of two senders", [] { one_of_two_senders(0, false); }, 3},
    {"one of two senders, cancelled", [] { one_of_two_senders(0, true); }, 3},
    {"one of two senders, one slot", [] { one_of_two_senders(1, true); }, 3},
    {"one of two receivers", [] { one_of_two_receivers(0); }, 3},
    {"one of two receivers, one slot", [] { one_of_two_receivers(1); }, 3},
    {"event, item or deadline", &event_item_or_deadline, 2},
    {"close against send", &close_against_send, 3},
    {"three in a ring", &three_in_a_ring, 1},
};

TEST(select_protocol, exactly_one_case_happens_and_nobody_is_left_asleep) {
  for (const scenario& s : scenarios) expect_holds(s);
}

/// A selection whose cases are on the heap, whose memory stays when they are gone: so a twin errs there and not on a stack.
template <class... Cases>
class selection {
public:
  explicit selection(Cases*... cases) : cases_{cases...} {}
  ~selection() {
    std::apply([](auto*... each) { (delete each, ...); }, cases_);
  }
  selection(const selection&) = delete;
  selection& operator=(const selection&) = delete;

  void run() {
    const auto all = std::apply(
        [](auto*... each) { return std::array<aramid::detail::select_case*, sizeof...(Cases)>{each...}; }, cases_);
    const std::size_t which = aramid::detail::select_one(all);
    std::apply([&](auto*... each) { aramid::detail::run_case(which, *each...); }, cases_);
  }

private:
  std::tuple<Cases*...> cases_;
};

using aramid::detail::publication;

/// Which outcomes step 2 has had, in all executions.
std::set<publication> outcomes_met;

/// A case that notes the outcome of step 2, and in a twin leaves its node behind.
template <class Case, bool Forgets>
class watched_case final : public aramid::detail::select_case {
public:
  template <class... Args>
  explicit watched_case(Args&&... args) : real_(std::forward<Args>(args)...) {}

  bool attempt() override { return real_.attempt(); }
  publication publish(aramid::parker& wait) noexcept override {
    const publication outcome = real_.publish(wait);
    const heap::untracked scope;
    outcomes_met.insert(outcome);
    return outcome;
  }
  void withdraw() noexcept override {
    if (!Forgets) real_.withdraw();
  }
  [[nodiscard]] bool chosen() const noexcept override { return real_.chosen(); }
  void run() { real_.run(); }

private:
  Case real_;
};

// With `Receive` for the two cases. The first sender may give up, before the selection meets it or after.
template <class Receive>
void one_of_two_senders_on_the_heap() {
  channel a;
  channel b;
  done mine;
  int sent = 0;
  together(
      [&] {
        selection both(new Receive(a, mine.receiving()), new Receive(b, mine.receiving()));
        both.run();
        MODEL_ASSERT(mine.cases == 1);
        mine.received += value_of(mine.received == 1 ? b.receive() : std::optional<item>(a.receive_for(at_last)));
      },
      [&] { sent = a.send_for(item(1), at_last) == aramid::channel_status::ok ? 1 : 0; },
      [&] { b.send(item(2)); });
  MODEL_ASSERT(mine.received == sent + 2);
}

using receive_case = aramid::detail::receive_case<item, decltype(std::declval<done&>().receiving())>;

TEST(select_protocol, step_two_has_every_outcome) {
  outcomes_met.clear();
  expect_holds({"watched", &one_of_two_senders_on_the_heap<watched_case<receive_case, false>>, 3});
  EXPECT_EQ(outcomes_met,
            (std::set{publication::queued, publication::performed, publication::lost, publication::retry}));
}

TEST(select_protocol, a_case_goes_on_after_the_wait_has_ended) {
  expect_twin_caught(twin::abandons_nothing, &one_of_two_senders_on_the_heap<receive_case>);
}

TEST(select_protocol, every_case_withdraws) {
  expect_caught(&one_of_two_senders_on_the_heap<watched_case<receive_case, true>>, "use after free");
}

TEST(select_protocol, whoever_selects_is_told_apart_from_the_others) {
  expect_twin_caught(twin::takes_all_for_itself, &two_meet_on_one_channel, "deadlock");
  expect_twin_caught(twin::takes_all_for_itself, [] { two_meet_crosswise(false); }, "deadlock");
  expect_twin_caught(twin::takes_none_for_itself, &two_meet_on_one_channel, "too many atomic objects");  // a wait for each try
}

}  // namespace
