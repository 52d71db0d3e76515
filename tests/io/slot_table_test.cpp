#include "io/src/uring/slot_table.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace {

using aramid::detail::caller;
using aramid::detail::op_kind;
using aramid::detail::operation;
using aramid::detail::slot_table;

TEST(slot_table, ticket_names_one_operation_once) {
  slot_table table;
  operation op(op_kind::poll, 0);
  ASSERT_TRUE(table.acquire(op));
  EXPECT_EQ(table.take(op.ticket, caller::owner), &op);
  EXPECT_EQ(table.take(op.ticket, caller::owner), nullptr);
}

TEST(slot_table, reused_slot_has_another_ticket) {
  slot_table table;
  operation first(op_kind::poll, 0);
  operation second(op_kind::poll, 0);
  ASSERT_TRUE(table.acquire(first));
  const auto stale = first.ticket;
  ASSERT_EQ(table.take(stale, caller::owner), &first);
  ASSERT_TRUE(table.acquire(second));
  EXPECT_EQ(static_cast<std::uint32_t>(second.ticket), static_cast<std::uint32_t>(stale));
  EXPECT_NE(second.ticket, stale);
  EXPECT_EQ(table.take(stale, caller::owner), nullptr);
  EXPECT_EQ(table.take(second.ticket, caller::owner), &second);
}

TEST(slot_table, a_peek_takes_nothing_and_finds_what_is_in_use) {
  slot_table table;
  EXPECT_EQ(table.peek(0), nullptr);  // no chunk yet
  operation op(op_kind::poll, 0);
  ASSERT_TRUE(table.acquire(op));
  EXPECT_EQ(table.peek(op.ticket), &op);
  EXPECT_EQ(table.peek(op.ticket + 1), nullptr);
  EXPECT_EQ(table.peek(0xffff'ffff), nullptr);
  EXPECT_EQ(table.peek(0x1'ffff'ffff), nullptr);
  EXPECT_EQ(table.take(op.ticket, caller::owner), &op);
  EXPECT_EQ(table.peek(op.ticket), nullptr);
}

TEST(slot_table, unknown_tickets_name_nothing) {
  slot_table table;
  EXPECT_EQ(table.take(0, caller::owner), nullptr);
  operation op(op_kind::poll, 0);
  ASSERT_TRUE(table.acquire(op));
  EXPECT_EQ(table.take(op.ticket + 1, caller::owner), nullptr);
  EXPECT_EQ(table.take(0xffff'ffff, caller::owner), nullptr);
  EXPECT_EQ(table.take(0x1'ffff'ffff, caller::owner), nullptr);
  EXPECT_EQ(table.take(op.ticket, caller::peer), &op);
}

TEST(slot_table, grows_past_a_chunk_without_two_tickets_alike) {
  slot_table table;
  constexpr std::size_t many = 3 * slot_table::chunk_slots;
  std::vector<std::unique_ptr<operation>> ops;
  std::set<std::uint64_t> tickets;
  for (std::size_t i = 0; i < many; ++i) {
    ops.push_back(std::make_unique<operation>(op_kind::poll, 0));
    ASSERT_TRUE(table.acquire(*ops.back()));
    tickets.insert(ops.back()->ticket);
  }
  EXPECT_EQ(tickets.size(), many);
  for (const auto& op : ops) {
    EXPECT_EQ(table.take(op->ticket, caller::peer), op.get());
  }
  // What peers have returned is used again before the table grows.
  for (const auto& op : ops) {
    ASSERT_TRUE(table.acquire(*op));
    EXPECT_LT(static_cast<std::uint32_t>(op->ticket), many);
  }
}

// The owner acquires while a peer takes: what the reap lock does not cover.
TEST(slot_table, owner_and_peer_share_the_free_slots) {
  slot_table table;
  constexpr int rounds = 50'000;
  constexpr std::size_t window = 64;
  std::vector<std::unique_ptr<operation>> ops;
  for (std::size_t i = 0; i < window; ++i) {
    ops.push_back(std::make_unique<operation>(op_kind::poll, 0));
  }
  // 0: free for the owner; otherwise the ticket + 1.
  std::vector<std::atomic<std::uint64_t>> mail(window);

  std::thread peer([&] {
    for (int done = 0; done < rounds;) {
      for (std::size_t i = 0; i < window; ++i) {
        if (const std::uint64_t ticket = mail[i].load(); ticket != 0) {
          ASSERT_EQ(table.take(ticket - 1, caller::peer), ops[i].get());
          mail[i].store(0);
          ++done;
        }
      }
      std::this_thread::yield();
    }
  });
  for (int sent = 0; sent < rounds;) {
    for (std::size_t i = 0; i < window && sent < rounds; ++i) {
      if (mail[i].load() == 0) {
        ASSERT_TRUE(table.acquire(*ops[i]));
        mail[i].store(ops[i]->ticket + 1);
        ++sent;
      }
    }
    std::this_thread::yield();
  }
  peer.join();
}

}  // namespace
