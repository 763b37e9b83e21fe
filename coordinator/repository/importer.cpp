#include "coordinator/repository/importer.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>

#include "common/base/text.h"
#include "coordinator/repository/hive_file.h"

namespace roamstead::repository {
namespace {

constexpr std::uint64_t kMaxHiveFileBytes =
    std::uint64_t{registry::kMaxBinsBytes} + registry::kBaseBlockBytes;

// Where the content of each record of the batch lies.
class DirectoryContent final : public profile::ContentSource {
 public:
  DirectoryContent(const profile::Batch& batch, const ImportProgress& progress)
      : batch_(batch), progress_(progress) {}

  void add_path(std::size_t record, std::string path) { paths_[record] = std::move(path); }
  void add_value(std::size_t record, std::size_t value, Bytes data) {
    values_[{record, value}] = std::move(data);
  }
  void set_total(std::uint64_t bytes) { total_ = bytes; }

  // For one thread: the commit reads file by file.
  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override {
    if (auto value = values_.find({record, stream}); value != values_.end()) {
      std::copy_n(value->second.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
      return report(out.size());
    }
    const auto& name = std::get<profile::Put>(batch_.records[record]).contents[stream].name;
    if (name.empty()) {
      if (open_record_ != record || !file_) {
        RS_TRY(file_, os::real_file_system().open(paths_.at(record), os::OpenMode::read));
        open_record_ = record;
      }
      RS_TRY(auto count, file_->read_at(offset, out));
      if (count != out.size())
        return fail(ErrorCode::io, paths_.at(record) + ": has become shorter during the import");
    } else {
      RS_TRY(auto bytes, read_source_stream(paths_.at(record), name));
      if (offset + out.size() > bytes.size())
        return fail(ErrorCode::io,
                    paths_.at(record) + ": its stream '" + name + "' has become shorter during the import");
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    }
    return report(out.size());
  }

 private:
  Result<void> report(std::uint64_t bytes) {
    done_ += bytes;
    if (progress_) progress_(done_, total_);
    return {};
  }

  const profile::Batch& batch_;
  const ImportProgress& progress_;
  std::map<std::size_t, std::string> paths_;
  std::map<std::pair<std::size_t, std::size_t>, Bytes> values_;  // of hives: what is not in the records
  std::unique_ptr<os::File> file_;
  std::size_t open_record_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

// A link's target relative to the profile's root; none when it leads out of it.
std::optional<std::string> target_in_profile(const std::filesystem::path& root,
                                             const std::filesystem::path& link, const std::string& target) {
  std::filesystem::path wanted(target);
  auto absolute = (wanted.is_absolute() ? wanted : link.parent_path() / wanted).lexically_normal();
  auto relative = absolute.lexically_relative(root.lexically_normal()).string();
  if (relative.empty() || relative == ".." || relative.rfind("../", 0) == 0) return std::nullopt;
  if (relative == ".") return "";
  if (relative.back() == '/') relative.pop_back();
  return relative;
}

class Walk {
 public:
  Walk(std::string root, profile::Batch& batch, DirectoryContent& content, ImportResult& result)
      : root_(std::move(root)), batch_(batch), content_(content), result_(result) {}

  Result<void> run() {
    RS_TRY(auto top, read_source_entry(root_));
    if (!top.entry.is_directory()) return fail(ErrorCode::invalid_argument, root_ + ": is not a directory");
    add(profile::ProfilePath(), root_, std::move(top));
    // The list grows while it is walked.
    std::vector<std::pair<profile::ProfilePath, std::string>> directories{{profile::ProfilePath(), root_}};
    for (std::size_t i = 0; i < directories.size(); ++i) {
      auto [path, place] = directories[i];
      RS_TRY(auto names, os::real_file_system().list_directory(place));
      for (const auto& name : names) {
        auto child_place = os::join_path(place, name);
        if (auto valid = profile::check_name(name); !valid) {
          skip(child_place, valid.error().message);
          continue;
        }
        RS_TRY(auto is_directory, visit(path.child(name), child_place));
        if (is_directory) directories.emplace_back(path.child(name), child_place);
      }
    }
    name_link_groups();
    content_.set_total(batch_.content_bytes());
    return {};
  }

 private:
  void skip(const std::string& place, const std::string& why) {
    result_.skipped.push_back(place + ": " + why);
  }

  Result<bool> visit(const profile::ProfilePath& path, const std::string& place) {
    auto source = read_source_entry(place);
    if (!source && source.error().code == ErrorCode::unsupported) {
      result_.skipped.push_back(source.error().message);
      return false;
    }
    if (!source) return fail(std::move(source).error());
    for (const auto& stream : source->unreadable_streams)
      skip(place + ":" + stream, "longer than the 64 KiB that Linux can read of a stream through this mount");
    auto kind = source->entry.kind;
    if (kind == profile::EntryKind::file) {
      const auto hive = profile::classify_hive_file(path.text());
      if (hive == profile::HiveFile::companion) return false;
      if (hive == profile::HiveFile::hive)
        return add_hive(path, place, std::move(*source)).map([] { return false; });
    }
    if (kind == profile::EntryKind::symlink || kind == profile::EntryKind::junction) {
      auto target = target_in_profile(root_, place, source->entry.link_target);
      if (!target) {
        skip(place, "a link to " + source->entry.link_target + ", outside the profile");
        return false;
      }
      source->entry.link_target = *target;
    }
    add(path, place, std::move(*source));
    return kind == profile::EntryKind::directory;
  }

  void hold_back(const profile::HeldBack& item) {
    skip(item.path, item.reason);
    batch_.held_back.push_back(item);
  }

  // The keys of a hive's file, with what its logs hold.
  Result<void> add_hive(const profile::ProfilePath& path, const std::string& place, SourceEntry source) {
    if (source.entry.size_bytes > kMaxHiveFileBytes) {
      hold_back({path.text(), "no hive is of " + std::to_string(source.entry.size_bytes) + " bytes"});
      return {};
    }
    auto& files = os::real_file_system();
    RS_TRY(const auto primary, os::read_file(files, place, kMaxHiveFileBytes));
    std::vector<Bytes> bytes;
    std::vector<registry::LogFile> logs;
    const auto directory = os::parent_directory(place);
    RS_TRY(const auto names, files.list_directory(directory));
    for (const auto& name : names) {
      bool is_log = false;
      for (const char* suffix : {".LOG", ".LOG1", ".LOG2"})
        is_log = is_log || same_name(name, std::string(path.name()) + suffix);
      if (!is_log) continue;
      RS_TRY(auto log, os::read_file(files, os::join_path(directory, name), kMaxHiveFileBytes));
      bytes.push_back(std::move(log));
      logs.push_back({name, bytes.back()});
    }
    auto read = read_hive_file(path, primary, logs);
    if (!read) {
      hold_back({path.text(), read.error().to_string()});
      return {};
    }
    add_records(path, place, std::move(source), std::move(*read));
    return {};
  }

  void add_records(const profile::ProfilePath& path, const std::string& place, SourceEntry source,
                   HiveRecords records) {
    profile::Put put;
    put.path = path;
    put.entry.kind = profile::EntryKind::registry;
    put.entry.metadata = std::move(source.entry.metadata);
    for (const auto& stream : source.entry.streams) skip(place + ":" + stream.name, "a hive has no streams");
    batch_.records.push_back(std::move(put));
    const auto first = batch_.records.size();
    for (auto& [at, data] : records.data) content_.add_value(first + at.first, at.second, std::move(data));
    for (auto& key : records.keys) batch_.records.push_back(std::move(key));
    for (const auto& item : records.held_back) hold_back(item);
    ++result_.files;
    ++result_.hives;
    result_.keys += batch_.records.size() - first;
    result_.bytes += records.data_bytes;
  }

  void add(const profile::ProfilePath& path, const std::string& place, SourceEntry source) {
    profile::Put put;
    put.path = path;
    put.entry = std::move(source.entry);
    auto& streams = put.entry.streams;
    std::sort(streams.begin(), streams.end(), [](const profile::Stream& a, const profile::Stream& b) {
      return compare_names(a.name, b.name) < 0;
    });
    auto add_stream = [&](const std::string& name, std::uint64_t size) {
      std::vector<ByteRange> writes;
      if (size != 0) writes.push_back({0, size});
      put.contents.push_back({name, size, std::move(writes)});
      result_.bytes += size;
    };
    if (put.entry.kind == profile::EntryKind::file) {
      add_stream("", put.entry.size_bytes);
      if (source.links > 1) links_[source.inode].push_back(batch_.records.size());
    }
    for (const auto& stream : streams) add_stream(stream.name, stream.size_bytes);
    ++(put.entry.is_directory() ? result_.directories : result_.files);
    content_.add_path(batch_.records.size(), place);
    batch_.records.push_back(std::move(put));
  }

  // Files of which several names lie in the profile.
  void name_link_groups() {
    std::uint64_t group = 0;
    for (const auto& [inode, records] : links_) {
      if (records.size() < 2) continue;
      ++group;
      for (auto record : records) std::get<profile::Put>(batch_.records[record]).entry.link_group = group;
    }
  }

  std::string root_;
  profile::Batch& batch_;
  DirectoryContent& content_;
  ImportResult& result_;
  std::map<std::uint64_t, std::vector<std::size_t>> links_;
};

Result<ProfileInfo> find_or_create(Repository& repository, const std::string& name) {
  auto found = repository.find_profile(name);
  if (found || found.error().code != ErrorCode::not_found) return found;
  return repository.create_profile(name);
}

}  // namespace

Result<ImportResult> import_directory(Repository& repository, const std::string& profile,
                                      const std::string& source, const ImportProgress& progress) {
  ImportResult result;
  profile::Batch batch;
  DirectoryContent content(batch, progress);
  std::error_code error;
  auto root = std::filesystem::canonical(source, error);
  if (error) return fail(ErrorCode::not_found, source + ": " + error.message());
  RS_CHECK(Walk(root.string(), batch, content, result).run());
  RS_TRY(auto info, find_or_create(repository, profile));
  // What the profile held goes. The records come last, so that the content's record numbers stay.
  RS_TRY(auto tree, repository.tree(info.id, info.head));
  std::string after;
  for (bool more = true; more;) {
    constexpr std::size_t kAtOnce = 1000;
    RS_TRY(auto children, tree->list(profile::ProfilePath(), after, kAtOnce));
    more = children.size() == kAtOnce;
    for (const auto& child : children)
      batch.records.push_back(profile::Delete{profile::ProfilePath().child(child.name)});
    if (!children.empty()) after = children.back().name;
  }
  CommitOrigin origin;
  origin.kind = VersionKind::import;
  RS_TRY(result.version, repository.commit(info.id, info.head, batch, content, origin));
  return result;
}

}  // namespace roamstead::repository
