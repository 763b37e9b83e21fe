#include "common/vdisk/vhdx_log.h"

#include <algorithm>
#include <array>

#include "common/base/crc32c.h"

namespace roamstead::vdisk::vhdx {
namespace {

constexpr std::size_t kEntryHeaderBytes = 64;
constexpr std::size_t kDescriptorBytes = 32;
// The bytes of a page that lie in its data sector; the first 8 and the last 4 are in its descriptor.
constexpr std::size_t kLeadingBytes = 8;
constexpr std::size_t kTrailingBytes = 4;
constexpr std::size_t kMiddleBytes = kLogPageBytes - kLeadingBytes - kTrailingBytes;
// Zeros written for one log; real ones clear at most a few bitmap blocks and block tables.
constexpr std::uint64_t kMaxZeroBytes = std::uint64_t{4} << 30;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 62;

struct Entry {
  std::uint64_t position = 0;  // in the log, bytes
  std::uint64_t length = 0;
  std::uint64_t tail = 0;
  std::uint64_t sequence = 0;
  std::uint32_t descriptors = 0;
  std::uint64_t flushed_bytes = 0;
  std::uint64_t file_bytes = 0;
};

std::size_t descriptor_sectors(std::size_t descriptors) {
  return (kEntryHeaderBytes + descriptors * kDescriptorBytes + kLogPageBytes - 1) / kLogPageBytes;
}

class LogReader {
 public:
  LogReader(const os::File& file, const Header& header, Bytes ring)
      : file_(file), header_(header), ring_(std::move(ring)) {}

  Result<LogContents> read() {
    RS_TRY(auto sequence, active_sequence());
    RS_TRY(auto file_bytes, file_.size());
    const auto& head = sequence.back();
    if (head.flushed_bytes > file_bytes)
      return corrupt(head.position, "the log was written when the file had " +
                                        std::to_string(head.flushed_bytes) + " bytes, now it has " +
                                        std::to_string(file_bytes) + ": it was cut short");
    LogContents contents;
    contents.entries = sequence.size();
    contents.file_bytes = head.file_bytes;
    for (const auto& entry : sequence) RS_CHECK(collect(entry, contents));
    if (contents.file_bytes > kMaxFileBytes)
      return corrupt(head.position,
                     "a log entry wants a file of " + std::to_string(contents.file_bytes) + " bytes");
    return contents;
  }

 private:
  tl::unexpected<Error> corrupt(std::uint64_t position, const std::string& what) const {
    return fail(ErrorCode::corrupt,
                file_.path() + ": at offset " + std::to_string(header_.log_offset + position) + ": " + what);
  }

  ByteView sector(std::uint64_t position) const {
    return ByteView(ring_).subspan(position % ring_.size(), kLogPageBytes);
  }
  // Descriptor `index` of the entry at `position`.
  ByteView descriptor(std::uint64_t position, std::size_t index) const {
    auto at = kEntryHeaderBytes + index * kDescriptorBytes;
    return sector(position + at / kLogPageBytes * kLogPageBytes)
        .subspan(at % kLogPageBytes, kDescriptorBytes);
  }

  // An entry whose every part names it. Cheap tests come first: a data sector or a descriptor sector is never
  // the beginning of an entry, so that whatever lies in the ring, few bytes are summed twice.
  std::optional<Entry> parse(std::uint64_t position) {
    auto first = sector(position);
    if (as_text(first.first(4)) != "loge" || Guid::from(first.subspan(32, 16)) != header_.log_guid) return {};
    Entry entry;
    entry.position = position;
    entry.length = load_le<std::uint32_t>(first, 8);
    entry.tail = load_le<std::uint32_t>(first, 12);
    entry.sequence = load_le<std::uint64_t>(first, 16);
    entry.descriptors = load_le<std::uint32_t>(first, 24);
    entry.flushed_bytes = load_le<std::uint64_t>(first, 48);
    entry.file_bytes = load_le<std::uint64_t>(first, 56);
    if (entry.length == 0 || entry.length % kLogPageBytes != 0 || entry.length > ring_.size()) return {};
    if (entry.tail % kLogPageBytes != 0 || entry.tail >= ring_.size() || entry.sequence == 0) return {};
    if (descriptor_sectors(entry.descriptors) * kLogPageBytes > entry.length) return {};
    if (!parts_agree(entry) || !checksum_agrees(entry)) return {};
    return entry;
  }

  bool parts_agree(const Entry& entry) const {
    auto data = entry.position + descriptor_sectors(entry.descriptors) * kLogPageBytes;
    auto end = entry.position + entry.length;
    for (std::size_t i = 0; i < entry.descriptors; ++i) {
      auto part = descriptor(entry.position, i);
      auto kind = as_text(part.first(4));
      if (load_le<std::uint64_t>(part, 24) != entry.sequence) return false;
      if (load_le<std::uint64_t>(part, 16) % kLogPageBytes != 0) return false;
      if (kind == "zero" && load_le<std::uint64_t>(part, 8) % kLogPageBytes == 0) continue;
      if (kind != "desc" || data >= end) return false;
      auto page = sector(data);
      auto sequence = std::uint64_t{load_le<std::uint32_t>(page, 4)} << 32 |
                      load_le<std::uint32_t>(page, kLogPageBytes - kTrailingBytes);
      if (as_text(page.first(4)) != "data" || sequence != entry.sequence) return false;
      data += kLogPageBytes;
    }
    return true;
  }

  bool checksum_agrees(const Entry& entry) {
    if (entry.length > budget_) return false;
    budget_ -= entry.length;
    auto first = sector(entry.position);
    constexpr std::array<std::byte, 4> kZero{};
    auto sum = crc32c(kZero, crc32c(first.first(4)));
    sum = crc32c(first.subspan(8), sum);
    for (std::uint64_t at = kLogPageBytes; at < entry.length; at += kLogPageBytes)
      sum = crc32c(sector(entry.position + at), sum);
    return sum == load_le<std::uint32_t>(first, 4);
  }

  // From its tail to its head.
  Result<std::vector<Entry>> active_sequence() {
    auto sectors = ring_.size() / kLogPageBytes;
    std::vector<std::optional<Entry>> at(sectors);
    for (std::size_t i = 0; i < sectors; ++i) at[i] = parse(i * kLogPageBytes);
    std::vector<bool> seen(sectors);
    std::vector<Entry> best;
    for (std::size_t start = 0; start < sectors; ++start) {
      // What begins within a sequence already looked at is a part of it, with the same head.
      if (!at[start] || seen[start]) continue;
      std::vector<Entry> sequence;
      std::uint64_t length = 0;
      for (auto i = start; at[i]; i = (i + at[i]->length / kLogPageBytes) % sectors) {
        if (!sequence.empty() && at[i]->sequence != sequence.back().sequence + 1) break;
        length += at[i]->length;
        if (length > ring_.size()) break;
        seen[i] = true;
        sequence.push_back(*at[i]);
      }
      auto tail = std::find_if(sequence.begin(), sequence.end(),
                               [&](const Entry& entry) { return entry.position == sequence.back().tail; });
      if (tail == sequence.end()) continue;
      if (!best.empty() && best.back().sequence >= sequence.back().sequence) continue;
      best.assign(tail, sequence.end());
    }
    if (best.empty())
      return corrupt(0, "the header names the log " + header_.log_guid.to_string() +
                            ", but no entry of it is whole: what it protected cannot be repaired");
    return best;
  }

  Result<void> collect(const Entry& entry, LogContents& contents) const {
    auto data = entry.position + descriptor_sectors(entry.descriptors) * kLogPageBytes;
    for (std::size_t i = 0; i < entry.descriptors; ++i) {
      auto part = descriptor(entry.position, i);
      bool zero = as_text(part.first(4)) == "zero";
      ByteRange target{load_le<std::uint64_t>(part, 16),
                       zero ? load_le<std::uint64_t>(part, 8) : std::uint64_t{kLogPageBytes}};
      RS_CHECK(check_target(entry, target));
      contents.file_bytes = std::max(contents.file_bytes, target.end());
      if (zero) {
        contents.pages.erase(contents.pages.lower_bound(target.offset),
                             contents.pages.lower_bound(target.end()));
        contents.zeros.add(target);
        continue;
      }
      auto page = sector(data);
      data += kLogPageBytes;
      Bytes content(kLogPageBytes);
      std::copy_n(part.begin() + 8, kLeadingBytes, content.begin());
      std::copy_n(page.begin() + 8, kMiddleBytes, content.begin() + kLeadingBytes);
      std::copy_n(part.begin() + 4, kTrailingBytes, content.end() - kTrailingBytes);
      contents.zeros.subtract(target);
      contents.pages.insert_or_assign(target.offset, std::move(content));
    }
    return {};
  }

  Result<void> check_target(const Entry& entry, ByteRange target) const {
    if (target.offset > kMaxFileBytes || target.length > kMaxFileBytes)
      return corrupt(entry.position, "a log entry writes " + std::to_string(target.length) + " bytes at " +
                                         std::to_string(target.offset));
    auto region_tables = ByteRange{kRegionTableOffsets[0], 2 * kRegionTableBytes};
    bool in_tables = target.offset >= region_tables.offset && target.end() <= region_tables.end();
    ByteRange log{header_.log_offset, header_.log_bytes};
    if ((target.offset < kFirstRegionOffset && !in_tables) || !intersect(target, log).empty())
      return corrupt(entry.position, "a log entry writes " + std::to_string(target.length) + " bytes at " +
                                         std::to_string(target.offset) +
                                         ", over the headers or the log itself");
    return {};
  }

  const os::File& file_;
  const Header& header_;
  Bytes ring_;
  std::uint64_t budget_ = 4 * kMaxLogBytes;  // bytes summed: entries that overlap one another are no log
};

}  // namespace

Result<LogContents> read_log(const os::File& file, const Header& header) {
  auto where = file.path() + ": at offset " + std::to_string(header.log_offset) + ": ";
  if (header.log_bytes > kMaxLogBytes)
    return fail(ErrorCode::unsupported, where + "a log of " + std::to_string(header.log_bytes) +
                                            " bytes with changes not yet in place, at most " +
                                            std::to_string(kMaxLogBytes) + " expected");
  if (header.log_bytes == 0 || header.log_bytes % kMiB != 0 || header.log_offset % kMiB != 0 ||
      header.log_offset < kFirstRegionOffset)
    return fail(ErrorCode::corrupt,
                where + "a log of " + std::to_string(header.log_bytes) +
                    " bytes with changes not yet in place, whole MiB from 1 MiB on expected");
  RS_TRY(auto file_bytes, file.size());
  if (header.log_offset > file_bytes || header.log_bytes > file_bytes - header.log_offset)
    return fail(ErrorCode::corrupt,
                where + "the log ends beyond the file's end at " + std::to_string(file_bytes));
  Bytes ring(header.log_bytes);
  RS_CHECK(file.read_exactly(header.log_offset, ring));
  return LogReader(file, header, std::move(ring)).read();
}

Result<void> replay_log(os::File& file, const LogContents& contents) {
  RS_TRY(auto size, file.size());
  auto total = contents.zeros.total_bytes();
  std::uint64_t there = 0;  // the file's end alone makes zeros of what lies beyond it
  for (auto range : contents.zeros.ranges()) there += intersect(range, {0, size}).length;
  if (there > kMaxZeroBytes)
    return fail(ErrorCode::unsupported, file.path() + ": its log clears " + std::to_string(total) +
                                            " bytes, at most " + std::to_string(kMaxZeroBytes) + " expected");
  if (size < contents.file_bytes) RS_CHECK(file.truncate(contents.file_bytes));
  Bytes zeros(kMiB);
  for (auto range : contents.zeros.ranges()) {
    range = intersect(range, {0, size});
    while (!range.empty()) {
      auto count = std::min<std::uint64_t>(range.length, zeros.size());
      RS_CHECK(file.write_at(range.offset, ByteView(zeros).first(count)));
      range = {range.offset + count, range.length - count};
    }
  }
  for (const auto& [offset, content] : contents.pages) RS_CHECK(file.write_at(offset, content));
  return file.sync();
}

Result<std::unique_ptr<ReplayedFile>> open_replayed(const os::File& file, const Header& header) {
  if (header.log_guid.is_zero()) return nullptr;
  RS_TRY(auto contents, read_log(file, header));
  return std::make_unique<ReplayedFile>(file, std::move(contents));
}

Result<std::size_t> ReplayedFile::read_at(std::uint64_t offset, MutableByteView out) const {
  if (settled_) return file_.read_at(offset, out);
  RS_TRY(auto count, file_.read_at(offset, out));
  if (count < out.size() && offset < contents_.file_bytes) {
    auto end =
        std::max<std::uint64_t>(count, std::min<std::uint64_t>(out.size(), contents_.file_bytes - offset));
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(count),
              out.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
    count = end;
  }
  ByteRange whole{offset, count};
  for (auto range : contents_.zeros.covered(whole))
    std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(range.offset - offset), range.length, std::byte{0});
  auto first = offset / kLogPageBytes * kLogPageBytes;
  for (auto it = contents_.pages.lower_bound(first); it != contents_.pages.end() && it->first < whole.end();
       ++it) {
    auto part = intersect({it->first, kLogPageBytes}, whole);
    std::copy_n(it->second.begin() + static_cast<std::ptrdiff_t>(part.offset - it->first), part.length,
                out.begin() + static_cast<std::ptrdiff_t>(part.offset - offset));
  }
  return count;
}

Result<std::uint64_t> ReplayedFile::size() const {
  RS_TRY(auto size, file_.size());
  return settled_ ? size : std::max(size, contents_.file_bytes);
}

Result<void> ReplayedFile::write_at(std::uint64_t, ByteView) {
  return fail(ErrorCode::denied, path() + ": opened for reading only");
}
Result<void> ReplayedFile::truncate(std::uint64_t) { return write_at(0, {}); }
Result<void> ReplayedFile::sync() { return write_at(0, {}); }
Result<void> ReplayedFile::lock(bool) { return write_at(0, {}); }

Bytes encode_log_entry(const Guid& guid, std::uint64_t sequence, std::uint32_t tail,
                       std::uint64_t flushed_bytes, std::uint64_t file_bytes,
                       std::span<const LogPage> pages) {
  auto data = descriptor_sectors(pages.size()) * kLogPageBytes;
  Bytes entry(data + pages.size() * kLogPageBytes);
  auto put = [&](std::size_t at, ByteView part) {
    std::copy(part.begin(), part.end(), entry.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, as_bytes("loge"));
  store_le<std::uint32_t>(entry, 8, static_cast<std::uint32_t>(entry.size()));
  store_le<std::uint32_t>(entry, 12, tail);
  store_le<std::uint64_t>(entry, 16, sequence);
  store_le<std::uint32_t>(entry, 24, static_cast<std::uint32_t>(pages.size()));
  put(32, guid.bytes);
  store_le<std::uint64_t>(entry, 48, flushed_bytes);
  store_le<std::uint64_t>(entry, 56, file_bytes);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    auto content = ByteView(pages[i].content);
    auto descriptor = kEntryHeaderBytes + i * kDescriptorBytes;
    put(descriptor, as_bytes("desc"));
    put(descriptor + 4, content.last(kTrailingBytes));
    put(descriptor + 8, content.first(kLeadingBytes));
    store_le<std::uint64_t>(entry, descriptor + 16, pages[i].offset);
    store_le<std::uint64_t>(entry, descriptor + 24, sequence);
    auto page = data + i * kLogPageBytes;
    put(page, as_bytes("data"));
    store_le<std::uint32_t>(entry, page + 4, static_cast<std::uint32_t>(sequence >> 32));
    put(page + 8, content.subspan(kLeadingBytes, kMiddleBytes));
    store_le<std::uint32_t>(entry, page + kLogPageBytes - kTrailingBytes,
                            static_cast<std::uint32_t>(sequence));
  }
  store_le<std::uint32_t>(entry, 4, crc32c(entry));
  return entry;
}

std::size_t LogWriter::max_pages() const {
  auto sectors = log_.length / 2 / kLogPageBytes;
  return sectors - descriptor_sectors(sectors);
}

Result<void> LogWriter::append(os::File& file, std::span<const LogPage> pages, std::uint64_t file_bytes) {
  auto entry =
      encode_log_entry(guid_, sequence_, static_cast<std::uint32_t>(head_), file_bytes, file_bytes, pages);
  length_ = entry.size();
  auto before_end = std::min<std::uint64_t>(entry.size(), log_.length - head_);
  RS_CHECK(file.write_at(log_.offset + head_, ByteView(entry).first(before_end)));
  if (before_end == entry.size()) return {};
  return file.write_at(log_.offset, ByteView(entry).subspan(before_end));
}

void LogWriter::appended() {
  ++sequence_;
  head_ = (head_ + length_) % log_.length;
}

}  // namespace roamstead::vdisk::vhdx
