#include "agent/core/cloud_session.h"

#include "agent/core/loader.h"
#include "common/base/log.h"

namespace roamstead::agent {

using profile::ProfilePath;

namespace {
constexpr FileNumber kRecordMask = (FileNumber{1} << 48) - 1;
}

// What the loader is to Cloud Files.
class LoaderCloudSource final : public CloudSource {
 public:
  LoaderCloudSource(Loader& loader, ProfileVolume& volume, const CloudSessionConfig& config)
      : loader_(loader), volume_(volume), config_(config) {}

  Result<void> populate(const CloudItem& item) override {
    RS_TRY(const auto handle, open(item));
    return loader_.populate(*handle);
  }
  Result<void> read(const CloudItem& item, ByteRange range, const Give& give) override {
    RS_TRY(const auto handle, open(item));
    return loader_.give(*handle, range, give);
  }
  Result<bool> release(const CloudItem& item) override {
    RS_TRY(const auto handle, open(item));
    return loader_.release(*handle);
  }
  Result<void> released(const CloudItem& item, bool gone) override {
    RS_TRY(const auto handle, open(item));
    return loader_.released(*handle, gone);
  }
  Result<void> closed(const CloudItem& item) override {
    if (config_.note_change) config_.note_change();
    auto handle = open(item);
    if (!handle && handle.error().code == ErrorCode::not_found) return {};  // and deleted
    if (!handle) return fail(std::move(handle).error());
    return loader_.note_closed(**handle);
  }
  bool excludes(const std::string& process) override {
    return config_.excludes && !process.empty() && config_.excludes(process);
  }

 private:
  // What is there now may be another file: then it is asked for again by its own name.
  Result<std::unique_ptr<VolumeHandle>> open(const CloudItem& item) {
    RS_TRY(auto handle, volume_.open(os::join_path(config_.profile_root, item.path.text()), ""));
    if (handle->file_number() != item.file)
      return fail(ErrorCode::stale, "'" + item.path.text() + "' is another file by now; try again");
    return handle;
  }

  Loader& loader_;
  ProfileVolume& volume_;
  const CloudSessionConfig& config_;
};

CloudSession::CloudSession(Loader& loader, ProfileVolume& volume, CloudFilesPort& port,
                           CloudSessionConfig config)
    : loader_(loader), volume_(volume), config_(std::move(config)) {
  source_ = std::make_unique<LoaderCloudSource>(loader, volume, config_);
  auto options = config_.options;
  options.identity = "roamstead " + config_.session.to_string();
  options.piece_bytes = std::min(options.piece_bytes, wire::kMaxReadBytes);
  files_ = std::make_unique<CloudFiles>(port, *source_, options);
}

CloudSession::~CloudSession() { stop(); }

void CloudSession::stop() {
  if (std::exchange(stopped_, true)) return;
  loader_.set_placeholders(nullptr);  // it loads as without us
  files_->stop();
}

std::string CloudSession::on_volume(const ProfilePath& path) const {
  return os::join_path(config_.profile_root, path.text());
}

Result<void> CloudSession::begin() {
  loader_.set_placeholders(files_.get());
  for (const auto& folder : config_.folders) {
    auto path = ProfilePath::parse(folder);
    auto added = path ? add_folder(*path) : fail(path.error());
    if (added) {
      roots_.push_back(std::move(*path));
      continue;
    }
    // A profile without some of the usual folders is nothing to speak of.
    if (added.error().code == ErrorCode::not_found) continue;
    log_warning("'{}' is no sync root: {}", folder, added.error().to_string());
    std::lock_guard lock(mutex_);
    problems_.push_back("'" + folder + "': " + added.error().to_string());
  }
  std::lock_guard lock(mutex_);
  if (roots_.empty() && !problems_.empty()) {
    loader_.set_placeholders(nullptr);
    return fail(ErrorCode::unsupported, problems_.front());
  }
  return {};
}

Result<void> CloudSession::add_folder(const ProfilePath& folder) {
  RS_CHECK(loader_.populate_above(folder, Priority::foreground));
  RS_TRY(const auto there, volume_.stat(on_volume(folder)));
  if (!there.directory) return fail(ErrorCode::invalid_argument, "it is no folder");
  RS_TRY(const auto handle, volume_.open(on_volume(folder), ""));
  const auto base = loader_.base_path(*handle);
  if (!base) return fail(ErrorCode::not_found, "it is not of the profile's version");
  RS_CHECK(loader_.populate(*handle));  // before it is a root: what is in it is converted below
  RS_CHECK(files_->add_root(folder, *base));
  // It stays one whatever comes: Windows may take away what is not loaded of a folder that is a root no more,
  // and that would be saved as deleted.
  if (auto adopted = adopt(folder); !adopted)
    log_warning("'{}': not all that was there before is a placeholder: {}", folder.text(),
                adopted.error().to_string());
  return {};
}

// What was published before there was a root. All of a directory is recorded with one flush.
Result<void> CloudSession::adopt(const ProfilePath& folder) {
  std::vector<ProfilePath> directories{folder};
  while (!directories.empty()) {
    const auto directory = std::move(directories.back());
    directories.pop_back();
    const auto items = volume_.list(on_volume(directory));
    if (!items && directory == folder) return fail(items.error());
    if (!items) continue;  // a program put a link there, or it is gone
    std::vector<std::pair<FileNumber, bool>> marked;
    const auto mark = [&](const VolumeItem& item) -> Result<void> {
      const auto path = directory.child(item.name);
      if (item.directory && loader_.is_populated(item.record)) {
        // A link's target is no business of this root.
        if (!loader_.link_target(item.record)) directories.push_back(path);
        return {};
      }
      if (!item.directory && loader_.is_loaded(item.record)) return {};
      RS_TRY_CTX(const auto handle, path.text(), volume_.open(on_volume(path), ""));
      // What programs did while there was no provider nobody told.
      if (!item.directory) RS_CHECK_CTX(path.text(), loader_.note_closed(*handle));
      RS_TRY_CTX(const bool becomes, path.text(), loader_.mark_placeholder(*handle));
      if (becomes) marked.emplace_back(handle->file_number(), item.directory);
      return {};
    };
    for (const auto& item : *items)
      if (auto done = mark(item); !done) log_warning("no placeholder: {}", done.error().to_string());
    auto converted = loader_.flush_tags();
    for (const auto& [file, is_directory] : marked) {
      if (converted) converted = files_->convert(file, is_directory);
      loader_.converted(file & kRecordMask);
    }
    RS_CHECK_CTX(directory.text(), converted);
  }
  return {};
}

void CloudSession::end() {
  stop();
  for (const auto& root : roots_)
    if (auto removed = files_->remove_root(root); !removed)
      log_warning("sync root '{}': {}", root.text(), removed.error().to_string());
  roots_.clear();
}

std::vector<std::string> CloudSession::problems() const {
  std::lock_guard lock(mutex_);
  return problems_;
}

}  // namespace roamstead::agent
