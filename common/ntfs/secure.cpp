#include "common/ntfs/secure.h"

#include <fmt/format.h>

#include <bit>

namespace roamstead::ntfs {
namespace {

constexpr std::uint32_t kEntryHeaderBytes = 20;
constexpr std::uint32_t kMaxDescriptorBytes = 64u << 10;
constexpr std::uint64_t kCopyDistance = 256u << 10;  // every block of 256 KiB is followed by its copy
constexpr std::size_t kMaxKnownDescriptorBytes = 16u << 20;

std::uint32_t descriptor_hash(ByteView descriptor) {
  std::uint32_t hash = 0;
  for (std::size_t i = 0; i + 4 <= descriptor.size(); i += 4)
    hash = load_le<std::uint32_t>(descriptor, i) + std::rotl(hash, 3);
  return hash;
}

}  // namespace

Result<SecureStore::Place> SecureStore::find(std::uint32_t id) const {
  RS_TRY(const auto tree,
         IndexTree::open(device_, geometry_, ids_.root, ids_.allocation ? &*ids_.allocation : nullptr));
  std::optional<Place> place;
  const auto compare = [&](const IndexEntry& entry) -> Result<int> {
    if (entry.key.size() < 4) return fail(ErrorCode::corrupt, "$SII: a key of less than 4 bytes");
    const auto found = load_le<std::uint32_t>(entry.key);
    return id == found ? 0 : id < found ? -1 : 1;
  };
  RS_CHECK_CTX("$Secure:$SII", tree.find(compare, [&](const IndexEntry& entry) -> Result<bool> {
    if (entry.data.size() < kEntryHeaderBytes || load_le<std::uint32_t>(entry.data, 4) != id)
      return fail(ErrorCode::corrupt, fmt::format("malformed entry for id {}", id));
    place = Place{load_le<std::uint32_t>(entry.data, 0), load_le<std::uint64_t>(entry.data, 8),
                  load_le<std::uint32_t>(entry.data, 16)};
    return false;
  }));
  if (!place) return fail(ErrorCode::not_found, fmt::format("$Secure has no security descriptor {}", id));
  if (place->size_bytes < kEntryHeaderBytes || place->size_bytes > kMaxDescriptorBytes)
    return fail(ErrorCode::corrupt,
                fmt::format("$Secure:$SII: descriptor {} of {} bytes", id, place->size_bytes));
  return *place;
}

Result<Bytes> SecureStore::read_copy(std::uint32_t id, const Place& place, std::uint64_t offset) const {
  if (offset > sds_.size_bytes || place.size_bytes > sds_.size_bytes - offset)
    return fail(ErrorCode::corrupt,
                fmt::format("$Secure:$SDS: descriptor {} at {} lies beyond the end", id, offset));
  Bytes entry(place.size_bytes);
  RS_CHECK(read_stream(device_, geometry_, sds_, offset, entry));
  const auto descriptor = ByteView(entry).subspan(kEntryHeaderBytes);
  if (load_le<std::uint32_t>(entry, 4) != id || load_le<std::uint32_t>(entry, 0) != place.hash ||
      load_le<std::uint32_t>(entry, 16) != place.size_bytes || descriptor_hash(descriptor) != place.hash)
    return fail(ErrorCode::corrupt,
                fmt::format("$Secure:$SDS: descriptor {} at {} is not intact", id, offset));
  return to_bytes(descriptor);
}

Result<Bytes> SecureStore::descriptor(std::uint32_t id) const {
  {
    std::lock_guard lock(mutex_);
    if (auto known = known_.find(id); known != known_.end()) return known->second;
  }
  RS_TRY(const auto place, find(id));
  auto bytes = read_copy(id, place, place.offset);
  if (!bytes && bytes.error().code == ErrorCode::corrupt && place.offset < sds_.size_bytes) {
    if (auto copy = read_copy(id, place, place.offset + kCopyDistance)) bytes = std::move(copy);
  }
  if (!bytes) return bytes;
  std::lock_guard lock(mutex_);
  if (known_bytes_ + bytes->size() > kMaxKnownDescriptorBytes) {
    known_.clear();
    known_bytes_ = 0;
  }
  if (known_.emplace(id, *bytes).second) known_bytes_ += bytes->size();
  return bytes;
}

}  // namespace roamstead::ntfs
