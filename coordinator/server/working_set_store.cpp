#include "coordinator/server/working_set_store.h"

#include <algorithm>

#include "common/base/archive.h"
#include "common/base/crc32c.h"

namespace roamstead::server {
namespace {

constexpr std::string_view kMagic = "RSWSET01";
constexpr std::size_t kMostFileBytes = 1u << 20;
constexpr std::size_t kChecksumBytes = 4;

}  // namespace

struct WorkingSetStore::Kept {
  wire::WorkingItem item;
  std::uint8_t sessions_ago = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(item, sessions_ago);
  }
};

Result<std::unique_ptr<WorkingSetStore>> WorkingSetStore::open(os::FileSystem& files, std::string directory) {
  RS_CHECK(files.make_directories(directory));
  return std::unique_ptr<WorkingSetStore>(new WorkingSetStore(files, std::move(directory)));
}

std::string WorkingSetStore::path_of(const repository::ProfileId& profile) const {
  return os::join_path(directory_, profile.to_string());
}

std::vector<WorkingSetStore::Kept> WorkingSetStore::load(const repository::ProfileId& profile) const {
  auto file = os::read_file(files_, path_of(profile), kMostFileBytes);
  if (!file || file->size() < kMagic.size() + kChecksumBytes) return {};
  auto content = ByteView(*file).first(file->size() - kChecksumBytes);
  if (as_text(content.first(kMagic.size())) != kMagic ||
      crc32c(content) != load_le<std::uint32_t>(*file, content.size()))
    return {};
  auto kept = decode<std::vector<Kept>>(content.subspan(kMagic.size()));
  return kept ? std::move(*kept) : std::vector<Kept>();
}

std::vector<wire::WorkingItem> WorkingSetStore::find(const repository::ProfileId& profile) const {
  std::vector<wire::WorkingItem> items;
  for (auto& kept : load(profile)) items.push_back(std::move(kept.item));
  if (!wire::check_working_set(items)) items.clear();
  return items;
}

Result<void> WorkingSetStore::learn(const repository::ProfileId& profile,
                                    const std::vector<wire::WorkingItem>& items) {
  RS_CHECK(wire::check_working_set(items));
  std::lock_guard lock(learn_mutex_);
  std::vector<Kept> kept;
  std::size_t bytes = 0;
  auto keep = [&](const wire::WorkingItem& item, std::uint8_t sessions_ago) {
    bool there = std::any_of(kept.begin(), kept.end(), [&](const Kept& each) { return each.item == item; });
    bytes += item.path.size() + item.key.size();
    if (!there && kept.size() < wire::kMostWorkingItems && bytes <= wire::kMostWorkingNameBytes)
      kept.push_back({item, sessions_ago});
  };
  for (const auto& item : items) keep(item, 0);
  for (const auto& before : load(profile))
    if (before.sessions_ago + 1 < kKeepSessions)
      keep(before.item, static_cast<std::uint8_t>(before.sessions_ago + 1));
  auto file = to_bytes(kMagic);
  auto encoded = encode(kept);
  file.insert(file.end(), encoded.begin(), encoded.end());
  auto checksum = crc32c(file);
  file.resize(file.size() + kChecksumBytes);
  store_le<std::uint32_t>(file, file.size() - kChecksumBytes, checksum);
  return os::write_file_durably(files_, path_of(profile), file);
}

}  // namespace roamstead::server
