#include "common/ntfs/wof.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/ntfs/lzx.h"
#include "common/ntfs/xpress.h"

namespace roamstead::ntfs {
namespace {

constexpr const char* kStreamName = "WofCompressedData";
constexpr std::uint32_t kProviderWim = 1;
constexpr std::uint32_t kProviderFile = 2;

const StreamInfo* find_stream(const FileRecord& file, const std::string& name) {
  for (const auto& stream : file.streams)
    if (stream.name == name) return &stream;
  return nullptr;
}

}  // namespace

std::string_view to_string(WofAlgorithm algorithm) {
  switch (algorithm) {
    case WofAlgorithm::xpress4k:
      return "XPRESS4K";
    case WofAlgorithm::lzx:
      return "LZX";
    case WofAlgorithm::xpress8k:
      return "XPRESS8K";
    case WofAlgorithm::xpress16k:
      return "XPRESS16K";
  }
  return "unknown";
}

std::uint32_t chunk_bytes(WofAlgorithm algorithm) {
  switch (algorithm) {
    case WofAlgorithm::xpress4k:
      return 4096;
    case WofAlgorithm::xpress8k:
      return 8192;
    case WofAlgorithm::xpress16k:
      return 16384;
    case WofAlgorithm::lzx:
      break;
  }
  return 32768;
}

Result<WofAlgorithm> parse_wof(ByteView data) {
  // WOF_EXTERNAL_INFO (version, provider), then for files FILE_PROVIDER_EXTERNAL_INFO (version, algorithm).
  if (data.size() < 8) return fail(ErrorCode::corrupt, "WOF: a reparse point too short for a provider");
  const auto provider = load_le<std::uint32_t>(data, 4);
  if (provider == kProviderWim)
    return fail(ErrorCode::unsupported, "WOF: the file's content is in a WIM image, not on this volume");
  if (provider != kProviderFile)
    return fail(ErrorCode::unsupported, fmt::format("WOF: provider {}", provider));
  if (data.size() < 16) return fail(ErrorCode::corrupt, "WOF: a reparse point too short for an algorithm");
  const auto algorithm = load_le<std::uint32_t>(data, 12);
  if (algorithm > 3)
    return fail(ErrorCode::unsupported, fmt::format("WOF: compressed by algorithm {}", algorithm));
  return static_cast<WofAlgorithm>(algorithm);
}

Result<WofContent> WofContent::open(const Volume& volume, const FileRecord& file) {
  if (file.reparse_tag != kWofTag) return fail(ErrorCode::invalid_argument, "not compressed by WOF");
  RS_TRY(const auto algorithm, parse_wof(file.reparse_data));
  const auto* data = find_stream(file, "");
  const auto* compressed = find_stream(file, kStreamName);
  if (data == nullptr || compressed == nullptr)
    return fail(ErrorCode::corrupt, fmt::format("WOF ({}): the file has no stream {}", to_string(algorithm),
                                                data == nullptr ? "of data" : kStreamName));
  WofContent content(volume, *compressed);
  content.algorithm_ = algorithm;
  content.size_bytes_ = data->size_bytes;
  // The table has an entry for each chunk but the first: where it starts, counted from the table's end.
  const auto chunk = chunk_bytes(algorithm);
  const auto chunks = content.size_bytes_ / chunk + (content.size_bytes_ % chunk != 0);
  const std::uint64_t entry_bytes = content.size_bytes_ >> 32 != 0 ? 8 : 4;
  content.table_bytes_ = chunks == 0 ? 0 : (chunks - 1) * entry_bytes;
  if (content.table_bytes_ > compressed->size_bytes)
    return fail(ErrorCode::corrupt, fmt::format("WOF ({}): a table of {} chunks in a stream of {} bytes",
                                                to_string(algorithm), chunks, compressed->size_bytes));
  return content;
}

// In the compressed stream.
Result<ByteRange> WofContent::chunk_place(std::uint64_t chunk) const {
  const std::uint64_t entry_bytes = size_bytes_ >> 32 != 0 ? 8 : 4;
  const auto offset_at = [&](std::uint64_t index) -> Result<std::uint64_t> {
    if (index == 0) return std::uint64_t{0};
    if ((index - 1) * entry_bytes == table_bytes_) return compressed_.size_bytes - table_bytes_;
    std::byte raw[8]{};
    RS_CHECK(volume_->read(compressed_, (index - 1) * entry_bytes,
                           MutableByteView(raw).first(static_cast<std::size_t>(entry_bytes))));
    return load_le<std::uint64_t>(raw);
  };
  RS_TRY(const auto start, offset_at(chunk));
  RS_TRY(const auto end, offset_at(chunk + 1));
  if (start >= end || end > compressed_.size_bytes - table_bytes_ || end - start > chunk_bytes(algorithm_))
    return fail(ErrorCode::corrupt,
                fmt::format("WOF ({}): chunk {} lies from {} to {} of {} bytes", to_string(algorithm_), chunk,
                            start, end, compressed_.size_bytes - table_bytes_));
  return ByteRange{table_bytes_ + start, end - start};
}

Result<void> WofContent::read_chunk(std::uint64_t chunk, Bytes& stored, MutableByteView out) const {
  RS_TRY(const auto place, chunk_place(chunk));
  if (place.length > out.size())
    return fail(ErrorCode::corrupt, fmt::format("WOF ({}): chunk {} of {} bytes has {} compressed ones",
                                                to_string(algorithm_), chunk, out.size(), place.length));
  // What would not have become smaller is stored.
  if (place.length == out.size()) return volume_->read(compressed_, place.offset, out);
  stored.resize(static_cast<std::size_t>(place.length));
  RS_CHECK(volume_->read(compressed_, place.offset, stored));
  RS_CHECK_CTX(
      fmt::format("WOF ({}), chunk {}", to_string(algorithm_), chunk),
      algorithm_ == WofAlgorithm::lzx ? decompress_lzx(stored, out) : decompress_xpress_huffman(stored, out));
  return {};
}

Result<void> WofContent::read(std::uint64_t offset, MutableByteView out) const {
  if (offset > size_bytes_ || out.size() > size_bytes_ - offset)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} of a file of {}", out.size(), offset, size_bytes_));
  const std::uint64_t chunk_size = chunk_bytes(algorithm_);
  Bytes stored;
  Bytes whole;
  while (!out.empty()) {
    const auto chunk = offset / chunk_size;
    const auto within = static_cast<std::size_t>(offset % chunk_size);
    const auto size = static_cast<std::size_t>(std::min(chunk_size, size_bytes_ - chunk * chunk_size));
    const auto count = std::min(size - within, out.size());
    if (count == size) {
      RS_CHECK(read_chunk(chunk, stored, out.first(count)));
    } else {
      whole.resize(size);
      RS_CHECK(read_chunk(chunk, stored, whole));
      std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(within), count, out.begin());
    }
    out = out.subspan(count);
    offset += count;
  }
  return {};
}

Result<FileContent> FileContent::open(const Volume& volume, const FileRecord& file, const std::string& name) {
  FileContent content(volume);
  if (name.empty() && file.reparse_tag == kWofTag) {
    content.place_ = fmt::format("MFT record {}", file.reference.record);
    RS_TRY_CTX(content.wof_, content.place_, WofContent::open(volume, file));
    return content;
  }
  const auto* stream = find_stream(file, name);
  if (stream == nullptr)
    return fail(ErrorCode::not_found, fmt::format("MFT record {}: the file has no {}", file.reference.record,
                                                  name.empty() ? "data" : "stream " + name));
  content.stream_ = *stream;
  return content;
}

}  // namespace roamstead::ntfs
