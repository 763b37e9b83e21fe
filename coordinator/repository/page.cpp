#include "coordinator/repository/page.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::repository {
namespace {

constexpr std::uint8_t kPageFormat = 1;
constexpr std::uint64_t kCutOneIn = 64;  // entries between cuts, on average, beyond the minimum

}  // namespace

int compare_keys(KeyOrder order, std::string_view a, std::string_view b) {
  return order == KeyOrder::names ? compare_names(a, b) : a.compare(b);
}

// FNV-1a, then mixed: the low bits of FNV alone depend too little on a key's first bytes.
bool is_cut_key(std::string_view key, unsigned level) {
  std::uint64_t hash = 0xCBF29CE484222325 ^ level;
  for (char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  hash = (hash ^ (hash >> 32)) * 0xD6E8FEB86659FD93;
  hash ^= hash >> 32;
  return hash % kCutOneIn == 0;
}

Bytes encode_page(KeyOrder order, unsigned level, const std::vector<PageEntry>& entries) {
  ByteWriter out;
  out.le(kPageFormat);
  out.le(static_cast<std::uint8_t>(order));
  out.le(static_cast<std::uint16_t>(level));
  out.le(static_cast<std::uint32_t>(entries.size()));
  for (const auto& entry : entries) {
    out.le(static_cast<std::uint16_t>(entry.key.size()));
    out.le(static_cast<std::uint16_t>(entry.value.size()));
    out.bytes(as_bytes(entry.key));
    out.bytes(entry.value);
  }
  return out.take();
}

Result<std::shared_ptr<const Page>> Page::parse(std::shared_ptr<const Bytes> bytes, KeyOrder order) {
  auto refuse = [](std::size_t offset, const std::string& why) {
    return fail(ErrorCode::corrupt, "page: " + why + " at offset " + std::to_string(offset));
  };
  if (bytes->size() > kMaxPageBytes)
    return refuse(0, "longer than " + std::to_string(kMaxPageBytes) + " bytes");
  auto page = std::make_shared<Page>();
  ByteReader reader(*bytes);
  RS_TRY(auto format, reader.le<std::uint8_t>());
  RS_TRY(auto stored_order, reader.le<std::uint8_t>());
  RS_TRY(auto level, reader.le<std::uint16_t>());
  RS_TRY(auto count, reader.le<std::uint32_t>());
  if (format != kPageFormat) return refuse(0, "format " + std::to_string(format) + " is unknown");
  if (stored_order != static_cast<std::uint8_t>(order))
    return refuse(1, "another order of keys than expected");
  if (level > kMaxLevel) return refuse(2, "impossible level " + std::to_string(level));
  if (count == 0 || count > reader.remaining() / 4)
    return refuse(4, "impossible count " + std::to_string(count));
  page->order_ = order;
  page->level_ = level;
  page->entries_.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    auto at = reader.offset();
    RS_TRY(auto key_bytes, reader.le<std::uint16_t>());
    RS_TRY(auto value_bytes, reader.le<std::uint16_t>());
    if (key_bytes == 0 || key_bytes > kMaxKeyBytes || value_bytes > kMaxValueBytes)
      return refuse(at, "impossible entry size");
    if (order == KeyOrder::offsets && key_bytes != 8) return refuse(at, "an offset of eight bytes expected");
    if (level > 0 && value_bytes != sizeof(ObjectId)) return refuse(at, "a page id of 32 bytes expected");
    RS_TRY(auto key, reader.take(key_bytes));
    RS_TRY(auto value, reader.take(value_bytes));
    if (i > 0 && compare_keys(order, page->entries_.back().key, as_text(key)) >= 0)
      return refuse(at, "keys out of order");
    page->entries_.push_back({as_text(key), value});
  }
  if (reader.remaining() != 0) return refuse(reader.offset(), "bytes too many");
  page->bytes_ = std::move(bytes);
  return std::shared_ptr<const Page>(std::move(page));
}

std::size_t Page::lower_bound(std::string_view key) const {
  auto found = std::lower_bound(entries_.begin(), entries_.end(), key,
                                [this](const PageEntry& entry, std::string_view wanted) {
                                  return compare_keys(order_, entry.key, wanted) < 0;
                                });
  return static_cast<std::size_t>(found - entries_.begin());
}

std::size_t Page::upper_bound(std::string_view key) const {
  auto found = std::upper_bound(entries_.begin(), entries_.end(), key,
                                [this](std::string_view wanted, const PageEntry& entry) {
                                  return compare_keys(order_, wanted, entry.key) < 0;
                                });
  return static_cast<std::size_t>(found - entries_.begin());
}

}  // namespace roamstead::repository
