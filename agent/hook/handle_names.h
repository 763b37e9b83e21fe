// What open handles stand for, as far as it matters: names relative to a handle are most of the registry's,
// and asking the system for a handle's name costs more than the call itself.
//
// Two tables without locks. Known to be outside: handles that lie below no root; nothing that is opened
// relative to them is in the profile. Known to be inside: root and name. A handle is forgotten when it is
// closed, before and after (it may be another's by then, whose name is then asked for again), and all inside
// are when names have come to stand for other things. What another process closes in this one is not seen.
#pragma once

#include "agent/hook/profile_map.h"

namespace roamstead::hook {

inline constexpr std::size_t kMostUnits = 4096;  // intercept::kMaxNameUnits

// A name below a root, put together here or pointing into what a program gave.
struct Located {
  Place place;
  char16_t buffer[kMostUnits + 2];
};

enum class Where {
  outside,
  above,  // outside, but a root lies below it: what is opened relative to it may be inside
  inside,
  too_long,  // inside, but longer than can be asked for
};

class HandleNames {
 public:
  // `name` is the one below the root, or, of a handle above, its full one.
  Where find(const Header& header, HANDLE handle, bool is_key, char16_t* name, std::size_t& units,
             std::uint32_t& root);
  void note_inside(const Header& header, HANDLE handle, bool is_key, const Place& place);
  void note_outside(HANDLE handle) {
    outside_[index(handle, kOutside)].store(number(handle), std::memory_order_relaxed);
  }
  bool is_outside(HANDLE handle) const {
    return outside_[index(handle, kOutside)].load(std::memory_order_relaxed) == number(handle);
  }
  void forget(HANDLE handle) {
    auto& outside = outside_[index(handle, kOutside)];
    if (outside.load(std::memory_order_relaxed) == number(handle))
      outside.store(0, std::memory_order_relaxed);
    auto& entry = inside_[index(handle, kInside)];
    if (entry.handle.load(std::memory_order_relaxed) == number(handle)) forget_inside(entry);
  }
  void forget_all_inside() {
    for (auto& entry : inside_)
      if (entry.handle.load(std::memory_order_relaxed) != 0) forget_inside(entry);
  }

 private:
  static constexpr std::size_t kOutside = 4096, kInside = 256, kUnits = 240;
  static constexpr std::uint16_t kAbove = 0xFFFF;  // in the place of a root: the name is a full one
  struct Entry {
    std::atomic<std::uint32_t> version{0};  // odd while it is written
    std::atomic<std::uint32_t> handle{0};   // 0: empty
    std::uint32_t generation = 0;
    std::uint16_t root = 0;
    std::uint16_t is_key = 0;
    std::uint32_t units = 0;
    char16_t name[kUnits] = {};
  };
  static std::uint32_t number(HANDLE handle) {
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(handle));
  }
  static std::size_t index(HANDLE handle, std::size_t size) { return (number(handle) >> 2) & (size - 1); }
  void forget_inside(Entry& entry);
  bool copy(const Header& header, HANDLE handle, bool is_key, char16_t* name, std::size_t& units,
            std::uint32_t& root) const;

  std::atomic<std::uint32_t> outside_[kOutside] = {};
  Entry inside_[kInside] = {};
};
extern HandleNames handle_names;

// Whether a root lies below this name.
bool leads_to_root(const Header& header, bool is_key, const char16_t* name, std::size_t units);

inline bool is_elsewhere(Where where) { return where == Where::outside || where == Where::above; }

// Where an object's attributes point.
Where locate(const Header& header, const OBJECT_ATTRIBUTES* attributes, bool is_key, Located& located);

}  // namespace roamstead::hook
