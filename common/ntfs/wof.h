// Files that the Windows overlay filter (WOF) compressed ("CompactOS"): a reparse point, a $DATA that is all
// hole, and the compressed bytes in a stream WofCompressedData: a table of where each chunk ends, then the
// chunks.
#pragma once

#include <optional>

#include "common/ntfs/volume.h"

namespace roamstead::ntfs {

inline constexpr std::uint32_t kWofTag = 0x8000'0017;  // IO_REPARSE_TAG_WOF

// FILE_PROVIDER_COMPRESSION_… of wofapi.h.
enum class WofAlgorithm : std::uint32_t { xpress4k = 0, lzx = 1, xpress8k = 2, xpress16k = 3 };
std::string_view to_string(WofAlgorithm algorithm);
std::uint32_t chunk_bytes(WofAlgorithm algorithm);

// The algorithm of a reparse point with kWofTag. ErrorCode::unsupported names what is not compression by file
// (contents in a WIM image) or not known, ErrorCode::corrupt what is too short.
Result<WofAlgorithm> parse_wof(ByteView reparse_data);

// The content of a file that WOF compressed. Immutable once open, so thread-safe. The volume must outlive it.
class WofContent {
 public:
  static Result<WofContent> open(const Volume& volume, const FileRecord& file);

  WofAlgorithm algorithm() const { return algorithm_; }
  std::uint64_t size_bytes() const { return size_bytes_; }
  // Bytes within the size. Whole chunks are decompressed: read larger pieces.
  Result<void> read(std::uint64_t offset, MutableByteView out) const;

 private:
  WofContent(const Volume& volume, StreamInfo compressed)
      : volume_(&volume), compressed_(std::move(compressed)) {}
  Result<ByteRange> chunk_place(std::uint64_t chunk) const;
  Result<void> read_chunk(std::uint64_t chunk, Bytes& stored, MutableByteView out) const;

  const Volume* volume_;
  StreamInfo compressed_;
  WofAlgorithm algorithm_ = WofAlgorithm::xpress4k;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t table_bytes_ = 0;
};

// What a program that opens the file would read from a stream: decompressed whether NTFS or WOF compressed
// it. For streams other than the unnamed one, and files without WOF, the same as Volume::read.
class FileContent {
 public:
  // ErrorCode::not_found when the file has no such stream. The volume must outlive the content.
  static Result<FileContent> open(const Volume& volume, const FileRecord& file,
                                  const std::string& stream = "");

  std::uint64_t size_bytes() const { return wof_ ? wof_->size_bytes() : stream_.size_bytes; }
  Result<void> read(std::uint64_t offset, MutableByteView out) const {
    if (!wof_) return volume_->read(stream_, offset, out);
    RS_CHECK_CTX(place_, wof_->read(offset, out));
    return {};
  }

 private:
  explicit FileContent(const Volume& volume) : volume_(&volume) {}

  const Volume* volume_;
  StreamInfo stream_;
  std::optional<WofContent> wof_;
  std::string place_;  // of the file's record
};

}  // namespace roamstead::ntfs
