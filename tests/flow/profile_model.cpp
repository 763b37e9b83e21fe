#include "tests/flow/profile_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/text.h"

namespace roamstead::flow {
namespace {

bool is_below(const std::string& path, const std::string& directory) {
  return path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/';
}

}  // namespace

ModelItem& ProfileModel::add_directory(const std::string& path, const profile::Metadata& metadata) {
  if (auto found = items_.find(path); found != items_.end()) return found->second;
  if (!path.empty()) {
    const auto slash = path.rfind('/');
    add_directory(slash == std::string::npos ? "" : path.substr(0, slash), metadata);
  }
  auto& item = items_[path];
  item.directory = true;
  item.metadata = metadata;
  item.metadata.attributes = 0;
  return item;
}

ModelItem& ProfileModel::add_file(const std::string& path, const profile::Metadata& metadata, Bytes content) {
  const auto slash = path.rfind('/');
  add_directory(slash == std::string::npos ? "" : path.substr(0, slash), metadata);
  auto& item = items_[path];
  item.metadata = metadata;
  item.streams[""] = std::move(content);
  return item;
}

void ProfileModel::write(const std::string& path, const std::string& stream, std::uint64_t offset,
                         ByteView data) {
  auto& item = at(path);
  auto& content = item.streams[stream];
  if (content.size() < offset + data.size()) content.resize(offset + data.size());
  std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(offset));
  item.changed = true;
}

void ProfileModel::truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) {
  auto& item = at(path);
  item.streams[stream].resize(size_bytes);
  item.changed = true;
}

void ProfileModel::rename(const std::string& from, const std::string& to) {
  std::vector<std::pair<std::string, ModelItem>> moved;
  for (auto it = items_.begin(); it != items_.end();) {
    if (it->first != from && !is_below(it->first, from)) {
      ++it;
      continue;
    }
    moved.emplace_back(to + it->first.substr(from.size()), std::move(it->second));
    it = items_.erase(it);
  }
  for (auto& [path, item] : moved) items_[path] = std::move(item);
}

void ProfileModel::exchange(const std::string& a, const std::string& b) {
  const std::string between = "\x01";  // no path of a profile
  rename(a, between);
  rename(b, a);
  rename(between, b);
}

void ProfileModel::remove(const std::string& path) { items_.erase(path); }

std::uint64_t ProfileModel::files() const {
  return static_cast<std::uint64_t>(
      std::ranges::count_if(items_, [](auto& item) { return !item.second.directory; }));
}

std::uint64_t ProfileModel::content_bytes() const {
  std::uint64_t bytes = 0;
  for (auto& [path, item] : items_)
    for (auto& [name, content] : item.streams) bytes += content.size();
  return bytes;
}

ModelBatch::ModelBatch(const ProfileModel& model) : model_(model) {
  for (auto& [path, item] : model.items()) {  // in order of paths, so parents come first
    profile::Put put;
    put.path = profile::ProfilePath::parse(path).value();
    put.entry.kind = item.directory ? profile::EntryKind::directory : profile::EntryKind::file;
    put.entry.metadata = item.metadata;
    for (auto& [name, content] : item.streams) {
      if (name.empty()) put.entry.size_bytes = content.size();
      if (!name.empty()) put.entry.streams.push_back({name, content.size()});
      put.contents.push_back({name, content.size(), {}});
      if (!content.empty()) put.contents.back().writes.push_back({0, content.size()});
    }
    std::ranges::sort(put.entry.streams, [](auto& a, auto& b) { return compare_names(a.name, b.name) < 0; });
    batch_.records.emplace_back(std::move(put));
  }
}

Result<void> ModelBatch::read(std::size_t record, std::size_t stream, std::uint64_t offset,
                              MutableByteView out) {
  auto& put = std::get<profile::Put>(batch_.records.at(record));
  auto& content = model_.items().at(put.path.text()).streams.at(put.contents.at(stream).name);
  if (offset > content.size() || out.size() > content.size() - offset)
    return fail(ErrorCode::internal, "asked for bytes beyond the end of " + put.path.text());
  std::ranges::copy(ByteView(content).subspan(offset, out.size()), out.begin());
  return {};
}

}  // namespace roamstead::flow
