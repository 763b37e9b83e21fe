// The service's side of the state map (state_map.h).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/core/state_map.h"
#include "common/base/bytes.h"

namespace roamstead::agent {

// Memory that the user's processes see: named sections on Windows, plain memory in tests. A table is zero and
// lives until it is dropped or this object goes.
class StateMapMemory {
 public:
  virtual ~StateMapMemory() = default;
  // Zero, or the header that a service before this one left and programs still look at.
  virtual Result<MutableByteView> make_header(std::size_t bytes) = 0;
  virtual Result<MutableByteView> make_table(std::uint32_t number, std::size_t bytes) = 0;
  // Readers may still look at it; nothing is written there any more.
  virtual void drop_table(std::uint32_t number) = 0;
};

struct StateMapPrefix {
  std::uint32_t root = 0;
  bool is_key = false;
  std::u16string text;  // "\??\C:\Users\alice", any case
};

// Thread-safe.
class StateMapWriter {
 public:
  static constexpr std::uint32_t kFirstSlots = 1u << 14;
  static constexpr std::uint32_t kMostSlots = 1u << 23;  // 64 MiB; then it begins anew

  static Result<std::unique_ptr<StateMapWriter>> create(StateMapMemory& memory,
                                                        std::vector<StateMapPrefix> prefixes,
                                                        std::uint32_t service_process, std::uint32_t wait_ms,
                                                        std::uint32_t first_slots = kFirstSlots);

  // Adds to what is known of a name. It stays unknown where there is no memory for it, and when names have
  // come to stand for other things since generation() was `generation`, or are about to.
  void add(std::uint32_t root, std::u16string_view name, std::uint32_t state, std::uint32_t generation);
  // Nothing is known of this name any more (of names below it what was stays).
  void erase(std::uint32_t root, std::u16string_view name);
  // Nothing is known of any name any more.
  void clear();
  // Takes this from all names.
  void forget(std::uint32_t state);

  void set_flag(state_map::Flag flag, bool on);
  void set_complete(std::uint32_t root, bool complete);
  // Of state_map::load_library32(); may be said at any time, of this and all further tables.
  void set_load_library32(std::uint32_t address);
  // Names come to stand for other things: from before the first call until after the second.
  void begin_rename();
  void end_rename();

  // The service opens this file, and closes it: told to who cannot share it.
  void begin_use(std::uint32_t root, std::u16string_view name);
  void end_use(std::uint32_t root, std::u16string_view name);

  std::uint64_t instance() const { return header_->instance; }
  std::uint32_t generation() const { return header_->generation; }
  std::size_t known() const;
  const state_map::Header& header() const { return *header_; }

 private:
  StateMapWriter(StateMapMemory& memory, state_map::Header& header) : memory_(memory), header_(&header) {}
  Result<void> new_table(std::uint32_t slots);
  void show_use();
  state_map::Slot* find(std::uint64_t hash, bool to_add);
  bool grow();

  StateMapMemory& memory_;
  state_map::Header* const header_;
  mutable std::mutex mutex_;
  std::uint32_t number_ = 0;
  std::uint32_t load_library32_ = 0;
  state_map::Slot* slots_ = nullptr;
  std::uint32_t slot_count_ = 0;
  std::uint32_t used_ = 0;
  bool warned_ = false;
  std::map<std::uint64_t, unsigned> in_use_;  // hashes; guarded too
};

}  // namespace roamstead::agent
