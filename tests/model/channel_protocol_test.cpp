// channel.hpp and detail/wait_queue.hpp: an item is with its sender, in the buffer, or with the one receiver that returns it, whatever
// cancellation, deadline or close comes between; and nobody is left asleep.
#include <aramid/channel.hpp>

#include <memory>

#include "modelled_product.hpp"

namespace {

using namespace model;

using channel = aramid::channel<item>;
using aramid::channel_status;

int value_of(const std::optional<item>& received) { return received ? received->value() : 0; }

// A send that may end early, and is then made again: the item is still there, or it was not sent twice.
void send_in_the_end(channel& to, int value) {
  item mine(value);
  const channel_status status = to.send_for(std::move(mine), some_time);
  if (status != channel_status::ok) {
    MODEL_ASSERT(status == channel_status::timed_out && mine.value() == value);
    to.send(std::move(mine));
  }
  MODEL_ASSERT(mine.value() == 0);
}

int receive_in_the_end(channel& from) {
  int got = 0;
  return unless_cancelled([&] { got = value_of(from.receive()); }) ? got : value_of(from.receive());
}

void one_sends(std::size_t capacity, bool sender_wavers, bool receiver_wavers) {
  channel between(capacity);
  int got = 0;
  together(
      [&] {
        if (sender_wavers)
          send_in_the_end(between, 1);
        else
          between.send(item(1));
      },
      [&] { got = receiver_wavers ? receive_in_the_end(between) : value_of(between.receive()); });
  MODEL_ASSERT(got == 1);
  MODEL_ASSERT(between.try_receive().status() == channel_status::would_block);
}

// Two items, in their order.
void one_sends_two(std::size_t capacity) {
  channel between(capacity);
  int first = 0;
  int second = 0;
  together(
      [&] {
        send_in_the_end(between, 1);
        between.send(item(2));
      },
      [&] {
        first = receive_in_the_end(between);
        second = value_of(between.receive());
      });
  MODEL_ASSERT(first == 1 && second == 2);
}

// One of two senders gives up, for good; what it did not send it still has.
void one_of_two_senders_leaves(std::size_t capacity) {
  channel between(capacity);
  bool sent = false;
  int got = 0;
  together(
      [&] {
        item mine(1);
        sent = unless_cancelled([&] { between.send(std::move(mine)); });
        MODEL_ASSERT(mine.value() == (sent ? 0 : 1));
      },
      [&] { between.send(item(2)); }, [&] { got = value_of(between.receive()); });
  got += value_of(between.try_receive());
  MODEL_ASSERT(got == (sent ? 3 : 2));
}

// One of two receivers gives up; the item goes to the other, or it was first. `close` lets the loser go.
void one_of_two_receivers_leaves(std::size_t capacity) {
  channel between(capacity);
  int first = 0;
  int second = 0;
  together(
      [&] { unless_cancelled([&] { first = value_of(between.receive()); }); },
      [&] { second = value_of(between.receive()); },
      [&] {
        between.send(item(1));
        between.close();
      });
  MODEL_ASSERT(first + second == 1);
}

// Sender and receiver may both give up, and the channel closes meanwhile.
void all_against_close(std::size_t capacity) {
  channel between(capacity);
  channel_status sent{};
  channel_status received{};
  int got = 0;
  together(
      [&] {
        item mine(1);
        sent = between.send_for(std::move(mine), some_time);
        MODEL_ASSERT(mine.value() == (sent == channel_status::ok ? 0 : 1));
      },
      [&] {
        const auto mine = between.receive_for(some_time);
        received = mine.status();
        got = value_of(mine);
        MODEL_ASSERT(mine.has_value() == (received == channel_status::ok));
      },
      [&] { between.close(); });
  const auto rest = between.try_receive();
  MODEL_ASSERT(got + value_of(rest) == (sent == channel_status::ok ? 1 : 0));
  MODEL_ASSERT(rest || rest.status() == channel_status::closed);
}

// Nobody cancels: `close` alone ends the waits. With one slot the second sender waits behind a full buffer.
void close_against_senders() {
  channel between(1);
  MODEL_ASSERT(between.try_send(item(1)) == channel_status::ok);
  int sent = 0;
  int got = 0;
  together(
      [&] {
        item mine(2);
        try {
          between.send(std::move(mine));
          sent = 1;
        } catch (const aramid::channel_closed&) {
          sent = 0;
        }
        MODEL_ASSERT(mine.value() == (sent == 1 ? 0 : 2));
      },
      [&] {
        const auto first = between.try_receive();
        MODEL_ASSERT(value_of(first) == 1);
        got = value_of(between.receive());
      },
      [&] { between.close(); });
  MODEL_ASSERT(got == 2 * sent);
}

scenario with_capacity(const std::string& name, void (*body)(std::size_t), std::size_t capacity, int preemptions) {
  return {name + ", capacity " + std::to_string(capacity), [=] { body(capacity); }, preemptions};
}

std::vector<scenario> scenarios() {
  std::vector<scenario> all;
  for (const std::size_t capacity : {0U, 1U}) {
    all.push_back(with_capacity("the sender wavers", [](std::size_t c) { one_sends(c, true, false); }, capacity, 5));
    all.push_back(with_capacity("the receiver wavers", [](std::size_t c) { one_sends(c, false, true); }, capacity, 5));
    all.push_back(with_capacity("both waver", [](std::size_t c) { one_sends(c, true, true); }, capacity, 5));
    all.push_back(with_capacity("one sends two", &one_sends_two, capacity, 5));
    all.push_back(with_capacity("one of two receivers leaves", &one_of_two_receivers_leaves, capacity, 4));
    all.push_back(with_capacity("all against close", &all_against_close, capacity, 4));
  }
  all.push_back(with_capacity("one of two senders leaves", &one_of_two_senders_leaves, 1, 4));
  all.push_back({"close against senders", &close_against_senders, 4});
  return all;
}

TEST(channel_protocol, no_item_is_lost_or_doubled_and_nobody_left_asleep) {
  for (const scenario& s : scenarios()) expect_holds(s);
}

/// How a twin sends or receives otherwise. The channel's friends are told apart by their handlers.
struct hasty {};
struct forgetful {};

}  // namespace

namespace aramid::inline v0::detail {

/// Moves the item before it claims the receiver.
template <>
class send_case<item, hasty> {
public:
  static void send(::channel& to, item& mine) {
    to.lock_.lock();
    if (to.receivers_.empty()) {
      to.lock_.unlock();
      return to.send(std::move(mine));
    }
    to.receivers_.front().item->emplace(std::move(mine));
    auto* const receiver = to.receivers_.claim_front();
    to.lock_.unlock();
    if (receiver != nullptr) deliver(receiver->token);
  }
};

/// Leaves its node in the queue when it is cancelled. The node is on the heap, whose memory stays when it is gone.
template <>
class receive_case<item, forgetful> {
public:
  static void receive(::channel& from, std::optional<item>& mine) {
    from.lock_.lock();
    if (from.get(mine) != channel_status::would_block) return;
    parker wait;
    const auto me = std::make_unique<::channel::waiting_receiver>();
    me->token = wait.token();
    me->item = &mine;
    from.receivers_.push_back(*me);
    from.lock_.unlock();
    if (wait.park() == wake_reason::cancelled) throw_cancelled();
  }
};

}  // namespace aramid::inline v0::detail

namespace {

void a_hasty_sender() {
  channel between(0);
  int got = 0;
  together(
      [&] {
        item mine(1);
        aramid::detail::send_case<item, hasty>::send(between, mine);
      },
      [&] {
        auto mine = between.receive_for(some_time);
        MODEL_ASSERT(mine.has_value() == (mine.status() == channel_status::ok));
        got = mine ? mine->value() : value_of(between.receive());
      });
  MODEL_ASSERT(got == 1);
}

void a_forgetful_receiver() {
  channel between(0);
  int got = 0;
  together([&] { between.send(item(1)); },
           [&] {
             std::optional<item> mine;
             const bool done =
                 unless_cancelled([&] { aramid::detail::receive_case<item, forgetful>::receive(between, mine); });
             got = done ? value_of(mine) : value_of(between.receive());
           });
  MODEL_ASSERT(got == 1);
}

TEST(channel_protocol, an_item_moves_after_the_claim) { expect_caught(&a_hasty_sender, "assertion failed"); }

TEST(channel_protocol, who_is_cancelled_takes_its_node_back) { expect_caught(&a_forgetful_receiver, "use after free"); }

}  // namespace
