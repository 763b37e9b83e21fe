#include "agent/core/prewarmed_link.h"

#include <algorithm>

#include "common/base/log.h"

namespace roamstead::agent {
namespace {

constexpr std::size_t kMostEntries = 512;  // of a part, as the coordinator's are

// Nothing when it cannot be of use, now or ever.
std::optional<profile::Prewarm> load(os::FileSystem& files, const std::string& path,
                                     const std::string& profile, std::uint64_t version,
                                     const profile::Entry& root) {
  const auto content = os::read_file(files, path, profile::kMostPrewarmBytes);
  auto prewarm = content ? profile::decode_prewarm(*content) : fail(content.error());
  if (!prewarm) {
    log_warning("{}: {}", path, prewarm.error().to_string());
    return std::nullopt;
  }
  if (prewarm->profile != profile || prewarm->version != version || prewarm->root != root) {
    log_info("{}: of another version of the profile, and of no use", path);
    return std::nullopt;
  }
  return std::move(*prewarm);
}

}  // namespace

PrewarmedLink::PrewarmedLink(wire::CoordinatorLink& link, profile::Prewarm prewarm)
    : link_(link), prewarm_(std::move(prewarm)) {
  for (const auto& each : prewarm_.directories) directories_[each.path.text()] = &each;
  for (const auto& each : prewarm_.files) files_[each.path.text()] = &each;
}

std::unique_ptr<PrewarmedLink> PrewarmedLink::open(wire::CoordinatorLink& link, ProfileVolume& volume,
                                                   const std::string& agent_root, const std::string& profile,
                                                   std::uint64_t version, const profile::Entry& root) {
  auto& files = volume.files();
  const auto path = volume.native_path(agent_root + "/" + profile::kPrewarmFolder + "/" +
                                       profile::prewarm_file_name(profile));
  const auto there = files.exists(path);
  if (!there || !*there) return nullptr;
  auto prewarm = load(files, path, profile, version, root);
  if (!prewarm) {
    if (auto removed = files.remove(path); !removed)
      log_warning("{}: cannot be removed: {}", path, removed.error().to_string());
    return nullptr;
  }
  log_info("{} folders and {} files of version {} are on the disk already", prewarm->directories.size(),
           prewarm->files.size(), version);
  return std::unique_ptr<PrewarmedLink>(new PrewarmedLink(link, std::move(*prewarm)));
}

std::optional<wire::DirectoryPart> PrewarmedLink::part_of(const profile::ProfilePath& path,
                                                          const std::string& after) const {
  const auto found = directories_.find(path.text());
  if (found == directories_.end()) return std::nullopt;
  const auto& entries = found->second->entries;
  auto at = entries.begin();
  if (!after.empty()) {
    at = std::find_if(at, entries.end(), [&](const auto& entry) { return entry.name == after; });
    if (at == entries.end()) return std::nullopt;
    ++at;
  }
  const auto count = std::min<std::size_t>(kMostEntries, static_cast<std::size_t>(entries.end() - at));
  wire::DirectoryPart part;
  part.entries.assign(at, at + static_cast<std::ptrdiff_t>(count));
  part.more = at + static_cast<std::ptrdiff_t>(count) != entries.end();
  return part;
}

std::optional<wire::Fetched> PrewarmedLink::fetched(const wire::FetchItem& item) const {
  if (item.directory) {
    auto part = part_of(item.path, "");
    if (!part) return std::nullopt;
    return wire::Fetched{wire::Fetched::Kind::directory, std::move(*part), 0, {}};
  }
  const auto found = files_.find(item.path.text());
  if (found == files_.end()) return std::nullopt;
  const auto& file = *found->second;
  const auto wanted = std::min<std::uint64_t>(file.size_bytes, wire::kFetchFileBytes);
  if (file.content.size() < wanted) return std::nullopt;
  return wire::Fetched{
      wire::Fetched::Kind::file,
      {},
      file.size_bytes,
      Bytes(file.content.begin(), file.content.begin() + static_cast<std::ptrdiff_t>(wanted))};
}

Result<wire::DirectoryPart> PrewarmedLink::list(const Guid& session_secret, const profile::ProfilePath& path,
                                                const std::string& after) {
  if (auto part = part_of(path, after)) {
    ++answered_;
    return std::move(*part);
  }
  return link_.list(session_secret, path, after);
}

Result<Bytes> PrewarmedLink::read(const Guid& session_secret, const profile::ProfilePath& path,
                                  const std::string& stream, std::uint64_t offset, std::size_t length) {
  const auto found = stream.empty() ? files_.find(path.text()) : files_.end();
  if (found != files_.end()) {
    const auto& file = *found->second;
    const auto begin = std::min(offset, file.size_bytes);
    const auto end = begin + std::min<std::uint64_t>(length, file.size_bytes - begin);
    if (end <= file.content.size() && length <= wire::kMaxReadBytes) {
      ++answered_;
      return Bytes(file.content.begin() + static_cast<std::ptrdiff_t>(begin),
                   file.content.begin() + static_cast<std::ptrdiff_t>(end));
    }
  }
  return link_.read(session_secret, path, stream, offset, length);
}

// A run of what is here, or a run of what is not: the caller asks on for the rest.
Result<std::vector<wire::Fetched>> PrewarmedLink::fetch(const Guid& session_secret,
                                                        const std::vector<wire::FetchItem>& items) {
  std::vector<wire::Fetched> here;
  std::vector<wire::FetchItem> elsewhere;
  for (const auto& item : items) {
    auto one = fetched(item);
    if (one ? !elsewhere.empty() : !here.empty()) break;
    if (one)
      here.push_back(std::move(*one));
    else
      elsewhere.push_back(item);
  }
  if (elsewhere.empty()) {
    answered_ += here.size();
    return here;
  }
  return link_.fetch(session_secret, elsewhere);
}

}  // namespace roamstead::agent
