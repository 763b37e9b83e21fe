// A page: up to 64 KiB of a sorted map, as stored. Leaves (level 0) hold values; pages above hold, under the
// first key of each page below, that page's id.
#pragma once

#include <memory>
#include <string_view>

#include "coordinator/repository/object.h"

namespace roamstead::repository {

// How keys sort. Names: compare_names, the frozen order. Offsets: eight bytes, big-endian, as bytes. Bytes:
// any, as bytes (keys and values of a hive).
enum class KeyOrder : std::uint8_t { names = 1, offsets = 2, bytes = 3 };
int compare_keys(KeyOrder order, std::string_view a, std::string_view b);

inline constexpr std::size_t kMaxPageBytes = 64u << 10;
inline constexpr std::size_t kMinPageBytes = 4u << 10;  // no cut before, so that pages have several entries
inline constexpr std::size_t kMaxKeyBytes = 1024;
inline constexpr std::size_t kMaxValueBytes = 6u << 10;
inline constexpr unsigned kMaxLevel = 12;

struct PageEntry {
  std::string_view key;
  ByteView value;
};

// Whether a page ends after an entry with this key, if it is long enough: a property of key and level alone.
bool is_cut_key(std::string_view key, unsigned level);
inline std::size_t page_header_bytes() { return 8; }
inline std::size_t page_entry_bytes(const PageEntry& entry) {
  return 4 + entry.key.size() + entry.value.size();
}

Bytes encode_page(KeyOrder order, unsigned level, const std::vector<PageEntry>& entries);

// Immutable, checked when made.
class Page {
 public:
  // Takes what encode_page made: bounds, order of keys, sizes of values are checked; ErrorCode::corrupt
  // otherwise.
  static Result<std::shared_ptr<const Page>> parse(std::shared_ptr<const Bytes> bytes, KeyOrder order);

  unsigned level() const { return level_; }
  std::size_t size() const { return entries_.size(); }
  const PageEntry& operator[](std::size_t index) const { return entries_[index]; }
  const std::vector<PageEntry>& entries() const { return entries_; }
  ObjectId child(std::size_t index) const { return ObjectId::from(entries_[index].value); }  // level > 0
  // First entry whose key is not less than (lower) or greater than (upper) `key`; size() if none.
  std::size_t lower_bound(std::string_view key) const;
  std::size_t upper_bound(std::string_view key) const;

 private:
  std::shared_ptr<const Bytes> bytes_;  // shared with the object cache; the entries are views into it
  KeyOrder order_ = KeyOrder::names;
  unsigned level_ = 0;
  std::vector<PageEntry> entries_;
};

}  // namespace roamstead::repository
