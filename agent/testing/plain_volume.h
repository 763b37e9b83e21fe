// A profile volume on any os::FileSystem, such as one that loses power: names and content, no metadata.
#pragma once

#include "agent/core/profile_volume.h"

namespace roamstead::agent::testing {

class PlainVolume final : public ProfileVolume {
 public:
  explicit PlainVolume(os::FileSystem& files) : files_(files) {}

  os::FileSystem& files() override { return files_; }
  std::string native_path(const std::string& path) const override { return path; }
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string&) override {
    RS_TRY(auto file, files_.open(path, os::OpenMode::read_write));
    return std::unique_ptr<VolumeHandle>(std::make_unique<Handle>(std::move(file)));
  }
  Result<VolumeItem> stat(const std::string& path) override {
    RS_TRY(auto file, files_.open(path, os::OpenMode::read));
    RS_TRY(const auto size, file->size());
    return VolumeItem{os::base_name(path), 0, false, size};
  }
  Result<VolumeItem> stat_child(VolumeHandle&, const std::string&) override {
    return fail(ErrorCode::unsupported, "directories are not opened here");
  }
  Result<std::vector<VolumeItem>> list(const std::string& path) override {
    std::vector<VolumeItem> items;
    RS_TRY(const auto names, files_.list_directory(path));
    for (const auto& name : names)
      if (auto item = stat(path + "/" + name)) items.push_back(std::move(*item));
    return items;
  }
  Result<void> make_directories(const std::string& path) override { return files_.make_directories(path); }
  Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry&) override {
    RS_TRY(auto file, files_.open(path, os::OpenMode::create));
    RS_CHECK(file->truncate(0));
    return extract::ItemIdentity{};
  }
  Result<void> publish(const std::string&, VolumeHandle&, const std::string&) override {
    return fail(ErrorCode::unsupported, "directories are not opened here");
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return files_.rename(from, to);
  }
  Result<bool> remove_tree_while(const GoOn&, const std::string& path) override {
    (void)files_.remove(path);
    return true;
  }
  Result<void> sync() override { return {}; }

 private:
  class Handle final : public VolumeHandle {
   public:
    explicit Handle(std::unique_ptr<os::File> file) : file_(std::move(file)) {}
    std::uint64_t record() const override { return 0; }
    const std::string& stream() const override { return stream_; }
    Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override {
      return file_->read_at(offset, out);
    }
    Result<void> write(std::uint64_t offset, ByteView data) override { return file_->write_at(offset, data); }
    Result<void> truncate(std::uint64_t size_bytes) override { return file_->truncate(size_bytes); }
    Result<std::uint64_t> size() override { return file_->size(); }
    Result<void> sync() override { return file_->sync(); }
    Result<ItemTimes> times() override { return ItemTimes{}; }
    Result<void> set_times(const ItemTimes&) override { return {}; }

   private:
    std::unique_ptr<os::File> file_;
    std::string stream_;
  };

  os::FileSystem& files_;
};

}  // namespace roamstead::agent::testing
