#include "coordinator/repository/exporter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "coordinator/repository/hive_file.h"

namespace roamstead::repository {
namespace {

using profile::EntryKind;
using profile::ProfilePath;

constexpr std::uint64_t kUnixEpoch = 116'444'736'000'000'000;  // 1970 in 100 ns since 1601
constexpr std::size_t kPartBytes = 1u << 20;
constexpr std::size_t kMaxAttributeBytes = 64u << 10;

class Exporter {
 public:
  Exporter(const Tree& tree, std::string target, const std::function<void(std::uint64_t)>& progress)
      : tree_(tree), target_(std::move(target)), progress_(progress) {}

  Result<ExportResult> run() {
    RS_CHECK(os::real_file_system().make_directories(target_));
    RS_TRY(auto there, os::real_file_system().list_directory(target_));
    if (!there.empty()) return fail(ErrorCode::exists, target_ + ": is not empty");
    on_ntfs_ = ::lgetxattr(target_.c_str(), "system.ntfs_attrib", nullptr, 0) >= 0;
    RS_TRY(auto root, tree_.lookup(ProfilePath()));
    // Directories get their metadata last, children first: what is made in them would change their times.
    std::vector<std::pair<ProfilePath, profile::Entry>> directories{{ProfilePath(), std::move(root)}};
    for (std::size_t i = 0; i < directories.size(); ++i) {
      auto directory = directories[i].first;
      auto made = each_child(directory, [&](const profile::NamedEntry& child) -> Result<void> {
        RS_CHECK(profile::check_name(child.name));
        auto path = directory.child(child.name);
        if (!child.entry.is_directory()) return write(path, child.entry);
        RS_CHECK(os::real_file_system().make_directories(place(path)));
        directories.emplace_back(path, child.entry);
        return {};
      });
      RS_CHECK(std::move(made));
    }
    for (auto directory = directories.rbegin(); directory != directories.rend(); ++directory) {
      RS_CHECK(write_streams(directory->first, directory->second));
      set_metadata(directory->first, directory->second);
      ++result_.directories;
    }
    return std::move(result_);
  }

 private:
  std::string place(const ProfilePath& path) const {
    return path.is_root() ? target_ : os::join_path(target_, path.text());
  }
  void incomplete(const ProfilePath& path, const std::string& why) {
    result_.incomplete.push_back(path.text() + ": " + why);
  }

  Result<void> each_child(const ProfilePath& directory,
                          const std::function<Result<void>(const profile::NamedEntry&)>& visit) {
    constexpr std::size_t kAtOnce = 1000;
    std::string after;
    for (;;) {
      RS_TRY(auto children, tree_.list(directory, after, kAtOnce));
      for (const auto& child : children) RS_CHECK(visit(child));
      if (children.size() < kAtOnce) return {};
      after = children.back().name;
    }
  }

  Result<void> write(const ProfilePath& path, const profile::Entry& entry) {
    ++result_.files;
    if (entry.kind == EntryKind::opaque) {
      incomplete(path, "only its metadata is in the repository");
      return {};
    }
    if (entry.kind == EntryKind::junction || entry.kind == EntryKind::symlink) return write_link(path, entry);
    RS_CHECK(entry.kind == EntryKind::registry ? write_hive(path) : write_content(path, entry));
    RS_CHECK(write_streams(path, entry));
    set_metadata(path, entry);
    return {};
  }

  Result<void> write_content(const ProfilePath& path, const profile::Entry& entry) {
    RS_TRY(auto file, os::real_file_system().open(place(path), os::OpenMode::create_new));
    RS_CHECK(file->truncate(entry.size_bytes));
    Bytes part;
    for (std::uint64_t offset = 0; offset < entry.size_bytes; offset += part.size()) {
      part.resize(std::min<std::uint64_t>(kPartBytes, entry.size_bytes - offset));
      RS_CHECK(tree_.read(path, "", offset, part));
      if (!all_zero(part)) RS_CHECK(file->write_at(offset, part));
      result_.bytes += part.size();
      if (progress_) progress_(result_.bytes);
    }
    return {};
  }

  Result<void> write_hive(const ProfilePath& path) {
    RS_TRY_CTX(auto hive, "'" + path.text() + "'", make_hive_file(tree_, path));
    for (auto& item : hive.incomplete) result_.incomplete.push_back(std::move(item));
    RS_TRY(auto file, os::real_file_system().open(place(path), os::OpenMode::create_new));
    RS_CHECK(file->write_at(0, hive.bytes));
    result_.bytes += hive.bytes.size();
    if (progress_) progress_(result_.bytes);
    return {};
  }

  // A link inside the profile, relative to where it stands.
  Result<void> write_link(const ProfilePath& path, const profile::Entry& entry) {
    if (auto valid = ProfilePath::parse(entry.link_target); !valid) {
      incomplete(path, "its target is outside the profile");
      return {};
    }
    auto target = std::filesystem::path(target_)
                      .append(entry.link_target)
                      .lexically_relative(std::filesystem::path(place(path)).parent_path());
    if (::symlink(target.c_str(), place(path).c_str()) != 0)
      return fail(ErrorCode::io, place(path) + ": cannot make the link: " + std::strerror(errno));
    return {};
  }

  Result<void> write_streams(const ProfilePath& path, const profile::Entry& entry) {
    for (const auto& stream : entry.streams) {
      if (!on_ntfs_ || stream.size_bytes > kMaxAttributeBytes) {
        incomplete(path, "its stream '" + stream.name + "' cannot be written to this file system");
        continue;
      }
      Bytes bytes(stream.size_bytes);
      RS_CHECK(tree_.read(path, stream.name, 0, bytes));
      if (::lsetxattr(place(path).c_str(), ("user." + stream.name).c_str(), bytes.data(), bytes.size(), 0) !=
          0)
        incomplete(path, "its stream '" + stream.name + "' cannot be written: " + std::strerror(errno));
      result_.bytes += bytes.size();
    }
    return {};
  }

  void set_attribute(const ProfilePath& path, const char* name, ByteView value) {
    if (::lsetxattr(place(path).c_str(), name, value.data(), value.size(), 0) != 0)
      incomplete(path, std::string(name) + " cannot be set: " + std::strerror(errno));
  }

  void set_metadata(const ProfilePath& path, const profile::Entry& entry) {
    const auto& metadata = entry.metadata;
    if (!on_ntfs_) return set_time(path, metadata.written_100ns);
    if (!metadata.security.empty()) set_attribute(path, "system.ntfs_acl", metadata.security);
    Bytes attributes(4), times(16);
    store_le(attributes, 0, metadata.attributes);
    store_le(times, 0, metadata.created_100ns);
    store_le(times, 8, metadata.written_100ns);
    set_attribute(path, "system.ntfs_times", times);
    set_attribute(path, "system.ntfs_attrib", attributes);
  }

  void set_time(const ProfilePath& path, std::uint64_t written_100ns) {
    if (written_100ns < kUnixEpoch) return;
    auto since = written_100ns - kUnixEpoch;
    timespec times[2];
    times[0].tv_nsec = UTIME_OMIT;
    times[1] = {static_cast<std::time_t>(since / 10'000'000), static_cast<long>(since % 10'000'000 * 100)};
    if (::utimensat(AT_FDCWD, place(path).c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
      incomplete(path, std::string("its time cannot be set: ") + std::strerror(errno));
  }

  const Tree& tree_;
  std::string target_;
  const std::function<void(std::uint64_t)>& progress_;
  ExportResult result_;
  bool on_ntfs_ = false;
};

}  // namespace

Result<ExportResult> export_tree(const Tree& tree, const std::string& target,
                                 const std::function<void(std::uint64_t)>& progress) {
  return Exporter(tree, target, progress).run();
}

}  // namespace roamstead::repository
