// An NTFS volume written by libntfs-3g in this process, on any block device: no mount, no root, no /dev/fuse.
//
// Thread-safe: one mutex holds all calls apart, for the library must not work on one volume from two threads.
// Every call leaves all inodes closed, so that after sync() the device holds a consistent volume ($LogFile
// stays empty: the library never writes it). Items are named by MFT record and sequence number; a reference
// whose item was deleted gives ErrorCode::not_found, also when the record is in use again. Names are WTF-8
// and compare exactly.
//
// Never repairs: a volume whose $LogFile is open, that is hibernated or marked dirty is refused for writing.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/ntfs/volume.h"
#include "common/vdisk/block_device.h"

namespace roamstead::ntfs3g {

using ntfs::FileReference;

enum class Access { read, write };
enum class ItemKind { file, directory };

struct ItemInfo {
  FileReference reference;
  bool directory = false;
  std::uint64_t size_bytes = 0;     // of the unnamed stream; 0 for directories
  std::uint32_t attributes = 0;     // FILE_ATTRIBUTE_…
  std::uint64_t created_100ns = 0;  // since 1601
  std::uint64_t written_100ns = 0;
  std::uint32_t links = 0;  // names (a DOS name counts too)
};

struct ItemName {
  std::string name;
  FileReference reference;
};

struct StreamName {
  std::string name;  // never ""
  std::uint64_t size_bytes = 0;
};

class LibraryVolume {
 public:
  // The device must outlive the volume. ErrorCode::corrupt when it holds no NTFS, unsupported when it is not
  // clean.
  static Result<std::unique_ptr<LibraryVolume>> mount(vdisk::BlockDevice& device, Access access);
  // Unmounts; errors are lost, so call sync() (or unmount()) before where they matter.
  ~LibraryVolume();
  LibraryVolume(const LibraryVolume&) = delete;
  LibraryVolume& operator=(const LibraryVolume&) = delete;
  // Everything is on the device; every later call fails.
  Result<void> unmount();

  static FileReference root();

  // By path from the root ("a/b/c", "" the root; a '/' more at either end does not matter).
  // ErrorCode::not_found.
  Result<FileReference> find(const std::string& path);
  Result<FileReference> find_child(FileReference directory, const std::string& name);
  Result<ItemInfo> stat(FileReference item);
  // Without system files, DOS names, "." and "..".
  Result<std::vector<ItemName>> list(FileReference directory);

  // ErrorCode::exists when the name is taken. Security is inherited from the directory.
  Result<FileReference> create(FileReference directory, const std::string& name, ItemKind kind);
  // Parents too; fine when it exists.
  Result<FileReference> make_directories(const std::string& path);
  // ErrorCode::exists when the name is taken; a directory cannot go below itself.
  Result<void> rename(FileReference from_directory, const std::string& from, FileReference to_directory,
                      const std::string& to);
  Result<void> link(FileReference file, FileReference directory, const std::string& name);
  // A file's name (its last one: the file), or an empty directory (ErrorCode::conflict when it is not).
  Result<void> remove(FileReference directory, const std::string& name);

  // Streams of a file; "" is the unnamed one. Only make_stream makes one; others: ErrorCode::not_found.
  Result<std::vector<StreamName>> streams(FileReference file);
  Result<void> make_stream(FileReference file, const std::string& stream);  // fine when it is there
  Result<void> remove_stream(FileReference file, const std::string& stream);
  Result<std::uint64_t> size(FileReference file, const std::string& stream);
  // Fewer than asked for only at the end.
  Result<std::size_t> read(FileReference file, const std::string& stream, std::uint64_t offset,
                           MutableByteView out);
  // Beyond the end leaves a hole. Sets the write time to now; ErrorCode::full leaves a part written.
  Result<void> write(FileReference file, const std::string& stream, std::uint64_t offset, ByteView data);
  // Grows sparsely where it can. Sets the write time to now.
  Result<void> truncate(FileReference file, const std::string& stream, std::uint64_t size_bytes);

  Result<void> set_times(FileReference item, std::uint64_t created_100ns, std::uint64_t written_100ns);
  // Bits that the library does not let change (directory, sparse, compressed of what has content …) stay.
  Result<void> set_attributes(FileReference item, std::uint32_t attributes);
  Result<Bytes> security(FileReference item);  // self-relative
  Result<void> set_security(FileReference item, ByteView self_relative);
  Result<void> set_reparse_point(FileReference item, ByteView whole);

  // Everything done so far is on stable storage.
  Result<void> sync();
  // The same, and then `action` while every other call waits: for a snapshot. `action` must not call back.
  Result<void> quiesce(const std::function<Result<void>()>& action);

  std::string name() const;  // of the device

  struct Mount;  // the library's side, in library_handles.h: for this module's sources only

 private:
  explicit LibraryVolume(std::unique_ptr<Mount> mount);

  Result<std::uint64_t> find_locked(FileReference directory, const std::string& name);
  Result<FileReference> walk_locked(const std::string& path);
  Result<FileReference> create_locked(FileReference directory, const std::string& name, ItemKind kind);
  Result<void> link_locked(FileReference item, FileReference directory, const std::string& name);
  Result<void> remove_locked(FileReference directory, const std::string& name);
  Result<void> check_not_below(FileReference item, FileReference directory);
  Result<void> sync_locked();

  mutable std::mutex mutex_;
  std::unique_ptr<Mount> mount_;
};

}  // namespace roamstead::ntfs3g
