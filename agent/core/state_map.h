// The state map: what of a profile is on this desktop already, in memory that the service writes and every
// process of the user reads. What it says is so; what it does not say is unknown, and costs a question
// (agent/core/intercept_protocol.h), never an error.
//
// Layout, readers and how it grows: docs/format-state-map.md. Readers are the programs the hook DLL lies in:
// everything they need is in this header, allocates nothing, calls nothing, and survives any bytes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace roamstead::agent::state_map {

inline constexpr std::uint64_t kHeaderMagic = 0x0A1A'504D'5453'4D52;  // "RMSTMP", SUB, LF
inline constexpr std::uint64_t kTableMagic = 0x0A1A'4254'5453'4D52;   // "RMSTTB", SUB, LF
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kMaxPrefixes = 16;
inline constexpr std::size_t kMaxPrefixUnits = 252;
inline constexpr std::uint32_t kMaxRoots = 32;
inline constexpr std::uint32_t kMaxProbes = 32;
inline constexpr std::size_t kMaxInUse = 64;

// What may be known of a name below a root.
enum State : std::uint32_t {
  kSettled = 1,   // whether it is there, and its attributes, is what the volume says
  kLoaded = 2,    // a directory is populated; a file's bytes, a key's values and names of subkeys are there
  kRecorded = 4,  // of a file: and programs may write to it (its blocks' tags are recorded)
  kSubtree = 8,   // of a key: all below it too
};

// Of the whole map.
enum Flag : std::uint32_t {
  kReadOnly = 1,  // programs may not change the profile: whoever wants to write asks, and is told
  kOff = 2,       // nothing is intercepted
};

struct Prefix {
  std::uint16_t root;    // what it leads to; several prefixes may lead to one root
  std::uint16_t is_key;  // 0: a name of files, 1: of the registry
  std::uint16_t units;
  std::uint16_t reserved;
  char16_t text[kMaxPrefixUnits];  // upcased, without a separator at its end
};

// The section that is found by its name. Never moves: programs keep it open, so that a service that is
// started anew finds it as the one before left it, and programs that start in between know what to wait for.
struct Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t bytes;     // of this structure
  std::uint64_t instance;  // of the service: another one after it was started anew
  std::uint64_t seed;      // of the hash
  std::uint32_t service_process;
  std::uint32_t wait_ms;                      // how long a question may take
  std::atomic<std::uint32_t> flags;           // Flag
  std::atomic<std::uint32_t> complete_roots;  // bit n: everything below root n is there; writers still ask
  std::atomic<std::uint32_t> table;           // number of the table in use
  std::atomic<std::uint32_t> generation;      // grows when names may have come to stand for other things
  std::atomic<std::uint32_t> renames;         // under way: what is read now may not hold a moment later
  std::uint32_t prefix_count;
  // Hashes of names whose files the service has open at the moment: who is refused to share one with it tries
  // again. 0: free; the first is 1 while there are more than have room.
  std::atomic<std::uint64_t> in_use[kMaxInUse];
  Prefix prefixes[kMaxPrefixes];  // longer ones first
};
static_assert(sizeof(Header) == 64 + kMaxInUse * 8 + kMaxPrefixes * 512);

// A section of its own: slots follow. A slot is a name's hash, its lowest four bits replaced by State; 0 is
// an empty one. A name's slot is among the kMaxProbes that follow the one its hash points to, and none after
// an empty one.
struct Table {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t number;
  std::uint32_t slot_count;  // a power of two
  std::uint32_t reserved;
  std::uint64_t instance;                     // the header's
  std::atomic<std::uint64_t> load_library32;  // LoadLibraryW's address in 32-bit programs; 0: not known
  std::uint64_t unused[3];
};
static_assert(sizeof(Table) == 64);
using Slot = std::atomic<std::uint64_t>;
static_assert(sizeof(Slot) == 8 && sizeof(std::atomic<std::uint32_t>) == 4);

namespace detail {

struct UpcaseRun {
  char16_t first, last, step;
  std::int32_t delta;
};
inline constexpr UpcaseRun kRuns[] = {
#include "common/base/upcase_table.inc"
};

// The frozen table in two steps: 10 KiB instead of 128.
struct UpcaseTable {
  static constexpr std::size_t kPages = 24;
  std::uint8_t page[256] = {};
  std::uint16_t delta[kPages][256] = {};  // modulo 2^16; page 0 changes nothing

  constexpr UpcaseTable() {
    std::size_t used = 1;
    for (const auto& run : kRuns)
      for (std::uint32_t unit = run.first; unit <= run.last; unit += run.step) {
        auto& to = page[unit >> 8];
        if (to == 0) to = static_cast<std::uint8_t>(used++);
        delta[to][unit & 255] = static_cast<std::uint16_t>(run.delta);
      }
  }
};
inline constexpr UpcaseTable kUpcase;

inline std::uint64_t four_units(const char16_t* text) {
  std::uint64_t word;
  __builtin_memcpy(&word, text, sizeof word);
  return word;
}

constexpr std::uint64_t kLanes = 0x0001'0001'0001'0001;

}  // namespace detail

inline char16_t upcase_unit(char16_t unit) {
  return static_cast<char16_t>(unit + detail::kUpcase.delta[detail::kUpcase.page[unit >> 8]][unit & 255]);
}

// Four units at once. In ASCII text without a loop.
inline std::uint64_t upcase_four(std::uint64_t word) {
  if ((word & (0xFF80 * detail::kLanes)) == 0) {
    const auto from_a = word + (0x80 - 'a') * detail::kLanes;
    const auto beyond_z = word + (0x80 - 'z' - 1) * detail::kLanes;
    return word - ((from_a & ~beyond_z & (0x80 * detail::kLanes)) >> 2);
  }
  std::uint64_t upcased = 0;
  for (unsigned lane = 0; lane < 64; lane += 16)
    upcased |= std::uint64_t{upcase_unit(static_cast<char16_t>(word >> lane))} << lane;
  return upcased;
}

// Of a name below a root, without regard to case. Names have no separator at either end; the root's is empty.
// The seed is secret to the session, so that nobody can choose names that meet in one slot elsewhere.
inline std::uint64_t hash_name(std::uint64_t seed, std::uint32_t root, const char16_t* name,
                               std::size_t units) {
  constexpr std::uint64_t kOdd = 0x9E37'79B9'7F4A'7C15, kOther = 0xC2B2'AE3D'27D4'EB4F;
  auto even = seed + root * kOther + units * kOdd, odd = seed ^ kOther;
  const auto mix = [](std::uint64_t hash, std::uint64_t word) {
    hash = (hash ^ word) * kOdd;
    return hash ^ (hash >> 32);
  };
  std::size_t at = 0;
  for (; at + 8 <= units; at += 8) {  // two chains that do not wait for each other
    even = mix(even, upcase_four(detail::four_units(name + at)));
    odd = mix(odd, upcase_four(detail::four_units(name + at + 4)));
  }
  if (at + 4 <= units) {
    even = mix(even, upcase_four(detail::four_units(name + at)));
    at += 4;
  }
  std::uint64_t rest = 0;
  for (; at < units; ++at) rest = (rest << 16) | upcase_unit(name[at]);
  odd = mix(odd, rest);
  auto hash = even ^ ((odd << 23) | (odd >> 41));
  hash = (hash ^ (hash >> 29)) * kOther;
  hash = (hash ^ (hash >> 32)) * kOdd;
  hash ^= hash >> 29;
  return (hash >> 4) == 0 ? hash | 16 : hash;
}

inline bool begins_with(const char16_t* name, std::size_t units, const char16_t* upcased,
                        std::size_t prefix_units) {
  if (units < prefix_units) return false;
  std::size_t at = 0;
  for (; at + 4 <= prefix_units; at += 4)
    if (upcase_four(detail::four_units(name + at)) != detail::four_units(upcased + at)) return false;
  for (; at < prefix_units; ++at)
    if (upcase_unit(name[at]) != upcased[at]) return false;
  return true;
}

struct Place {
  std::uint32_t root = 0;
  const char16_t* name = nullptr;  // below the root
  std::size_t units = 0;
};

// A table in `bytes` bytes of memory; use only when slots != nullptr.
struct TableView {
  const Slot* slots = nullptr;
  std::uint32_t mask = 0;
  std::uint32_t number = 0;
};

inline TableView view_table(const void* memory, std::size_t bytes) {
  if (memory == nullptr || bytes < sizeof(Table)) return {};
  const auto& table = *static_cast<const Table*>(memory);
  const auto count = table.slot_count;  // read once: the writer is trusted, but this costs nothing
  if (table.magic != kTableMagic || table.version != kVersion || count == 0 || (count & (count - 1)) != 0 ||
      count > (bytes - sizeof(Table)) / sizeof(Slot))
    return {};
  return {reinterpret_cast<const Slot*>(static_cast<const char*>(memory) + sizeof(Table)), count - 1,
          table.number};
}

// Where 32-bit programs have LoadLibraryW; 0: not known, or there are none.
inline std::uint32_t load_library32(const TableView& view) {
  if (view.slots == nullptr) return 0;
  const auto& table = *(reinterpret_cast<const Table*>(view.slots) - 1);
  return static_cast<std::uint32_t>(table.load_library32.load(std::memory_order_acquire));
}

inline const Header* view_header(const void* memory, std::size_t bytes) {
  if (memory == nullptr || bytes < sizeof(Header)) return nullptr;
  const auto* header = static_cast<const Header*>(memory);
  if (header->magic != kHeaderMagic || header->version != kVersion || header->bytes != sizeof(Header))
    return nullptr;
  return header;
}

// Where a full name lies; false when below no root. One separator at the name's end is left out.
inline bool find_place(const Header& header, bool is_key, const char16_t* name, std::size_t units,
                       Place& place) {
  const auto count = header.prefix_count < kMaxPrefixes ? header.prefix_count : kMaxPrefixes;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto& prefix = header.prefixes[i];
    const std::size_t length = prefix.units;
    if ((prefix.is_key != 0) != is_key || length == 0 || length > kMaxPrefixUnits ||
        prefix.root >= kMaxRoots || !begins_with(name, units, prefix.text, length))
      continue;
    auto rest = units - length;
    if (rest != 0 && name[length] != u'\\') continue;
    const auto* start = name + length + (rest != 0 ? 1 : 0);
    if (rest != 0) --rest;
    if (rest != 0 && start[rest - 1] == u'\\') --rest;
    place = {prefix.root, start, rest};
    return true;
  }
  return false;
}

// State of a hashed name; 0 when nothing is known.
inline std::uint32_t look_up(const TableView& table, std::uint64_t hash) {
  if (table.slots == nullptr) return 0;
  auto at = static_cast<std::uint32_t>(hash >> 20);
  for (std::uint32_t probe = 0; probe < kMaxProbes; ++probe, ++at) {
    const auto slot = table.slots[at & table.mask].load(std::memory_order_acquire);
    if ((slot ^ hash) < 16) return static_cast<std::uint32_t>(slot & 15);
    if (slot == 0) return 0;
  }
  return 0;
}

// Whether the service has it open, perhaps.
inline bool is_in_use(const Header& header, const Place& place) {
  const auto hash = hash_name(header.seed, place.root, place.name, place.units);
  for (const auto& one : header.in_use) {
    const auto now = one.load(std::memory_order_acquire);
    if (now == hash || now == 1) return true;
  }
  return false;
}

// Whether a program may go on without asking.
inline bool may_go_on(const Header& header, const TableView& table, const Place& place,
                      std::uint32_t wanted) {
  const auto flags = header.flags.load(std::memory_order_acquire);
  if ((flags & kReadOnly) != 0 && (wanted & kRecorded) != 0) return false;
  if ((wanted & kRecorded) == 0 &&
      (header.complete_roots.load(std::memory_order_acquire) >> place.root & 1) != 0)
    return true;
  if (table.number != header.table.load(std::memory_order_acquire)) return false;
  const auto hash = hash_name(header.seed, place.root, place.name, place.units);
  return (look_up(table, hash & ~std::uint64_t{15}) & wanted) == wanted;
}

}  // namespace roamstead::agent::state_map
