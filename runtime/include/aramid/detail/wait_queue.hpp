// The FIFO of waiters that a primitive keeps, under whatever lock guards the primitive. Nothing is allocated: a node
// lies in the frame of the call that waits, next to its `parker`.
//
// Whose the memory of a node is, and until when:
//
//   1. The waiter fills its node and queues it under the lock, then parks.
//   2. A waker takes the node out under the lock and claims its token, in `claim_front`. If the claim wins, the waiter
//      cannot return before `deliver`: the node, and what it points to, are the waker's until then, without the lock.
//      If the claim loses, the waiter is on its way out and its node must not be touched again. It has
//      been taken out, so there is nothing left in the queue that could be.
//   3. A waiter whose `park` returns anything but `notified` takes the lock and calls `remove` before its frame ends.
//      That finds out which it was: still queued, or taken out by a waker whose claim lost. Neither owes it
//      anything; a waker whose claim *won* has made `park` return `notified`.
//
// One waiter may stand in several queues with one token (what `select` does): the first claim wins, the others
// lose in step 2, and in step 3 the waiter removes itself from each. The winner leaves its mark in the node it
// found, which is how the waiter knows which of them it was.
#pragma once

#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// What every waiting node begins with. A primitive derives its own from it.
struct wait_node {
  park_token token;  // written by the waiter, before it queues

  // Written by whoever holds the queue's lock. `next` also links the nodes that one caller has claimed.
  wait_node* next = nullptr;
  wait_node* previous = nullptr;
  bool queued = false;
  bool claimed = false;  // written by whoever claims the token through this node: the mark that `select` looks for
};

/// Every call needs the lock that guards the queue.
template <class Node>
class wait_queue {
public:
  constexpr wait_queue() noexcept = default;
  wait_queue(const wait_queue&) = delete;
  wait_queue& operator=(const wait_queue&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  /// Whether anybody waits but the one whom `token` names, who may stand in both queues of a channel.
  [[nodiscard]] bool holds_another_than(park_token token) const noexcept {
    const wait_node* node = first_;
    while (node != nullptr && node->token.who == token.who) {
      node = node->next;
    }
    return node != nullptr;
  }

  /// Only if it is not empty.
  [[nodiscard]] const Node& front() const noexcept { return static_cast<const Node&>(*first_); }

  void push_back(Node& node) noexcept {
    node.next = nullptr;
    node.previous = last_;
    node.queued = true;
    (last_ != nullptr ? last_->next : first_) = &node;
    last_ = &node;
  }

  /// For a waiter that was woken, found nothing and keeps its turn.
  void push_front(Node& node) noexcept {
    node.next = first_;
    node.previous = nullptr;
    node.queued = true;
    (first_ != nullptr ? first_->previous : last_) = &node;
    first_ = &node;
  }

  /// Takes `node` out if it is still in, and returns whether it was. If not, it looks at the node only.
  bool remove(Node& node) noexcept {
    if (!node.queued) {
      return false;
    }
    (node.previous != nullptr ? node.previous->next : first_) = node.next;
    (node.next != nullptr ? node.next->previous : last_) = node.previous;
    node.queued = false;
    return true;
  }

  /// Takes nodes out from the front until one can be claimed.
  /// Returns: the claimed one, which the caller must `deliver`; nullptr once the queue is empty.
  [[nodiscard]] Node* claim_front() noexcept {
    return claim_front_while([](const Node&) { return true; });
  }

  /// As above, but no further than to the first node that `wanted` says no to.
  template <class Wanted>
  [[nodiscard]] Node* claim_front_while(Wanted wanted) noexcept {
    while (first_ != nullptr && wanted(static_cast<const Node&>(*first_))) {
      wait_node& node = *first_;
      remove(static_cast<Node&>(node));
      if (claim(node.token)) {
        node.claimed = true;
        return static_cast<Node*>(&node);
      }
    }
    return nullptr;
  }

  /// Takes every node out and claims what can be claimed.
  /// Returns: the claimed ones in their order, linked by `next`, for `deliver_all`.
  [[nodiscard]] wait_node* claim_all() noexcept {
    wait_node* first = nullptr;
    wait_node** end = &first;
    while (Node* node = claim_front()) {
      *end = node;
      end = &node->next;
    }
    *end = nullptr;
    return first;
  }

private:
  wait_node* first_ = nullptr;
  wait_node* last_ = nullptr;
};

/// Delivers what `claim_all` returned. Needs no lock.
inline void deliver_all(wait_node* node) noexcept {
  while (node != nullptr) {
    wait_node* const next = node->next;  // `node` is gone once it is delivered
    deliver(node->token);
    node = next;
  }
}

}  // namespace aramid::inline v0::detail
