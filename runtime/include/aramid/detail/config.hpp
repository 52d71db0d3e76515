// What every public header needs of the build: symbol visibility and the two attributes that the
// laws of migration ask for. Nothing here depends on NDEBUG or on a sanitizer, so the layout of
// the public types never does either.
#pragma once

#if !defined(__linux__)
#error "aramid runs on Linux only"
#endif

#if defined(ARAMID_SHARED)
#define ARAMID_API __attribute__((visibility("default")))
#else
#define ARAMID_API
#endif

// A thrown type needs one type_info in the whole process, whatever the library's visibility.
#define ARAMID_EXCEPTION __attribute__((visibility("default")))

// A function whose result may differ on the two sides of a suspension, because it reads something
// of the thread. The optimiser must neither inline it nor learn that two calls agree: gcc treats a
// merely `noinline` accessor that returns a thread-local address as const (DESIGN §2, law 5).
#if defined(__clang__)
#define ARAMID_PER_THREAD __attribute__((noinline, optnone))
#else
#define ARAMID_PER_THREAD __attribute__((noipa))
#endif

#define ARAMID_LIKELY(x) __builtin_expect(static_cast<bool>(x), 1)
#define ARAMID_UNLIKELY(x) __builtin_expect(static_cast<bool>(x), 0)
