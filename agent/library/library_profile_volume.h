// The profile's volume through libntfs-3g in this process.
#pragma once

#include "agent/core/profile_volume.h"
#include "common/ntfs3g/library_file_system.h"
#include "common/ntfs3g/library_volume.h"

namespace roamstead::agent {

class LibraryHandle final : public VolumeHandle {
 public:
  LibraryHandle(ntfs3g::LibraryVolume& volume, ntfs3g::FileReference reference, std::string stream)
      : volume_(volume), reference_(reference), stream_(std::move(stream)) {}

  std::uint64_t record() const override { return reference_.record; }
  std::uint64_t file_number() const override {
    return reference_.record | std::uint64_t{reference_.sequence} << 48;
  }
  const std::string& stream() const override { return stream_; }
  Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override;
  Result<void> write(std::uint64_t offset, ByteView data) override;
  Result<void> truncate(std::uint64_t size_bytes) override;
  Result<std::uint64_t> size() override;
  Result<void> sync() override;
  Result<ItemTimes> times() override;
  Result<void> set_times(const ItemTimes& times) override;

  ntfs3g::FileReference reference() const { return reference_; }

 private:
  ntfs3g::LibraryVolume& volume_;
  ntfs3g::FileReference reference_;
  std::string stream_;
};

// Thread-safe. Knows sequence numbers, so identities of staged items are whole.
class LibraryProfileVolume final : public ProfileVolume {
 public:
  // The volume must outlive this and every handle.
  explicit LibraryProfileVolume(ntfs3g::LibraryVolume& volume) : volume_(volume), files_(volume) {}

  ntfs3g::LibraryVolume& library() { return volume_; }

  os::FileSystem& files() override { return files_; }
  std::string native_path(const std::string& path) const override { return path; }
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream) override;
  Result<VolumeItem> stat(const std::string& path) override;
  Result<VolumeItem> stat_child(VolumeHandle& directory, const std::string& name) override;
  Result<std::vector<VolumeItem>> list(const std::string& path) override;
  Result<void> make_directories(const std::string& path) override;
  Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry& entry) override;
  Result<void> publish(const std::string& staged, VolumeHandle& directory, const std::string& name) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<bool> remove_tree_while(const GoOn& go_on, const std::string& path) override;
  Result<void> sync() override { return volume_.sync(); }

 private:
  Result<void> set_metadata(ntfs3g::FileReference item, const profile::Entry& entry);
  Result<bool> remove_below(const GoOn& go_on, ntfs3g::FileReference directory, const std::string& name,
                            int depth);

  ntfs3g::LibraryVolume& volume_;
  ntfs3g::LibraryFileSystem files_;
};

// "a/b/c" is {"a/b", "c"}.
struct SplitPath {
  std::string directory;
  std::string name;
};
SplitPath split_path(const std::string& path);

}  // namespace roamstead::agent
