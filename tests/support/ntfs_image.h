// NTFS volumes for tests: formatted by mkntfs, filled in process by libntfs-3g, so that neither a mount nor
// root is needed. What goes wrong throws std::runtime_error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/vdisk/block_device.h"

namespace roamstead::support {

struct FormatOptions {
  std::uint64_t size_bytes = 32u << 20;
  std::uint32_t cluster_bytes = 4096;
  std::uint32_t sector_bytes = 512;  // 4096 makes MFT records of 4 KiB
  std::string label = "test";
};

// Is mkntfs installed? Says so on standard output when not: the test is skipped.
bool can_format_ntfs();
// Makes the file and formats it; the file is sparse.
void format_ntfs(const std::string& image, const FormatOptions& options = {});

// A volume mounted by libntfs-3g from a file. Paths are "a/b/c" from the root in WTF-8, "" is the root. Not
// thread-safe, and everything is on the image only once the object is gone.
class NtfsImage {
 public:
  explicit NtfsImage(const std::string& image, bool writable = true);
  // On a volume that fills the device, which must outlive this object.
  explicit NtfsImage(vdisk::BlockDevice& device);
  ~NtfsImage();
  NtfsImage(const NtfsImage&) = delete;
  NtfsImage& operator=(const NtfsImage&) = delete;

  struct Attributes {
    std::uint64_t record = 0;
    std::uint16_t sequence = 0;
    bool directory = false;
    std::uint32_t attributes = 0;
    std::uint64_t created_100ns = 0;
    std::uint64_t written_100ns = 0;
    std::uint32_t security_id = 0;
  };

  // Each gives the MFT record number. Parents must exist.
  std::uint64_t make_directory(const std::string& path);
  std::uint64_t make_file(const std::string& path);  // empty
  // Writes into a stream ("" the unnamed one), making file and stream where they are missing; beyond the end
  // leaves a hole. False when the volume is full.
  bool write(const std::string& path, std::uint64_t offset, ByteView data, const std::string& stream = "");
  void truncate(const std::string& path, std::uint64_t size_bytes, const std::string& stream = "");
  void link(const std::string& existing, const std::string& path);
  void remove(const std::string& path);                         // one name of a file, or an empty directory
  void rename(const std::string& from, const std::string& to);  // `to` must not exist
  void remove_stream(const std::string& path, const std::string& stream);
  void set_attributes(const std::string& path, std::uint32_t attributes);
  void set_compressed(const std::string& path);  // of a directory: files made in it later are compressed
  void set_reparse_point(const std::string& path, ByteView whole);
  void set_security_descriptor(const std::string& path, ByteView self_relative);
  void set_times(const std::string& path, std::uint64_t created_100ns, std::uint64_t written_100ns);

  std::optional<Attributes> find(const std::string& path);
  std::uint64_t size(const std::string& path, const std::string& stream = "");
  Bytes read(const std::string& path, std::uint64_t offset, std::size_t count,
             const std::string& stream = "");
  Bytes security_descriptor(const std::string& path);
  std::vector<std::string> list(const std::string& path);  // without DOS names, "." and ".."

 private:
  struct Mount;
  std::unique_ptr<Mount> mount_;
};

}  // namespace roamstead::support
