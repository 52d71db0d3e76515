// Variables that belong to fibers.
//
//     fiber_local<std::string> buffer;              // each fiber has one of its own: what thread_local is to threads
//     buffer->append("…");
//
//     context_var<std::string> request("none");     // what a fiber has been told, and all that it spawns: a request's id, a trace
//     request.with("r-17", [&] { … request.get() … });
//
// A thread that is no fiber has its own too. A thread_local variable is neither: it changes under a fiber that wakes on
// another thread.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/detail/context_node.hpp>
#include <aramid/detail/local_key.hpp>

namespace aramid::inline v0 {

/// A variable of which each fiber (and each other thread) has a value of its own, made when it first asks for it. The values of a
/// fiber are destroyed by itself when it has ended, the newest first; there their destructors may suspend and are shielded.
/// Values that are there when the variable is destroyed stay until their fibers end, or make a value of a variable that came later; those of
/// the main thread are not destroyed.
/// Threads: any, fibers and others; each sees its own value only.
template <class T>
class fiber_local {
public:
  /// Values are made by `T()`.
  fiber_local() requires std::is_default_constructible_v<T> : fiber_local([] { return T(); }) {}

  /// Values are made by `make()`, called by the fiber whose value it will be.
  explicit fiber_local(std::function<T()> make) : make_(std::move(make)) {}

  fiber_local(const fiber_local&) = delete;
  fiber_local& operator=(const fiber_local&) = delete;

  /// The caller's value, which is made if there is none.
  /// Suspends: as the making of a value does. Throws: what that throws; std::bad_alloc.
  [[nodiscard]] T& get() const {
    T* value = find();
    if (ARAMID_UNLIKELY(value == nullptr)) {
      std::unique_ptr<T> made(new T(make_()));
      value = made.get();
      detail::keep_local(key_, value, [](void* old) noexcept { delete static_cast<T*>(old); });
      (void)made.release();
    }
    return *value;
  }
  [[nodiscard]] T& operator*() const { return get(); }
  [[nodiscard]] T* operator->() const { return &get(); }

  /// The caller's value, or nullptr if there is none yet. Suspends: never.
  [[nodiscard]] T* find() const noexcept { return static_cast<T*>(detail::find_local(key_)); }

  /// Destroys the caller's value, if there is one. Suspends: as its destructor does.
  void reset() const noexcept { detail::drop_local(key_); }

private:
  const detail::local_key key_;
  const std::function<T()> make_;
};

/// A variable that is bound to a value for a stretch of code and for all fibers that are spawned from there, however long they
/// live; what they bind in turn, their parent does not see. Python's ContextVar, Eio's Fiber.with_binding.
/// Owns:    bound values live as long as anybody who sees them; the last to go destroys them, on its own fiber.
/// Threads: any; a value may be read by many fibers at once, so `get` gives it const.
template <class T>
class context_var {
public:
  /// Without a binding, `get` throws.
  context_var() = default;

  /// Without a binding, `get` returns `value`.
  explicit context_var(T value) : default_(new T(std::move(value))) {}

  context_var(const context_var&) = delete;
  context_var& operator=(const context_var&) = delete;

  /// The value of the innermost binding around the caller, or the default.
  /// Suspends: never. Throws: std::logic_error if there is neither.
  [[nodiscard]] const T& get() const {
    if (const T* const value = find()) {
      return *value;
    }
    throw std::logic_error("aramid: context_var::get: it is bound to nothing here and has no default");
  }

  /// As `get`, with nullptr in place of the exception.
  [[nodiscard]] const T* find() const noexcept {
    const detail::context_node* const node = detail::find_context(id_);
    return node != nullptr ? &static_cast<const detail::context_value<T>*>(node)->value : default_.get();
  }

  /// Binds the variable for as long as it lives. Bindings end in the reverse order of their beginning, on the fiber that made them.
  class [[nodiscard]] binding {
  public:
    binding(const context_var& variable, T value)
        : node_(*new detail::context_value<T>(variable.id_, std::move(value))) {
      detail::push_context(node_);
    }
    ~binding() { detail::pop_context(node_); }

    binding(const binding&) = delete;
    binding& operator=(const binding&) = delete;

  private:
    detail::context_node& node_;
  };

  /// Calls `fn` with the variable bound to `value`, and returns its result.
  template <class Fn>
  decltype(auto) with(T value, Fn&& fn) const {
    const binding here(*this, std::move(value));
    return std::invoke(std::forward<Fn>(fn));
  }

private:
  const detail::variable_id id_ = detail::new_variable_id();
  const std::unique_ptr<const T> default_;
};

}  // namespace aramid::inline v0
