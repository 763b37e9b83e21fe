#include "common/extract/journals.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace roamstead::extract {
namespace {

constexpr std::uint64_t kReadBytes = 1u << 20;

struct JournalFile {
  const Snapshot& snapshot;
  std::optional<ntfs::StreamInfo> stream;  // nothing: not there

  JournalSource source() const {
    return [this](std::uint64_t offset, MutableByteView out) {
      return snapshot.volume().read(*stream, offset, out);
    };
  }
};

std::string about(const std::string& path) { return "provenance journal '" + path + "'"; }

Result<JournalFile> find_journal(const Snapshot& snapshot, const std::string& path) {
  JournalFile journal{snapshot, {}};
  if (path.empty()) return journal;
  auto reference = snapshot.volume().lookup(path);
  if (!reference) {
    if (reference.error().code == ErrorCode::not_found) return journal;
    return fail(std::move(reference).error().with(about(path)));
  }
  RS_TRY_CTX(auto file, about(path), snapshot.volume().record(reference->record));
  for (auto& stream : file.streams) {
    if (!stream.name.empty()) continue;
    if (stream.size_bytes > kMaxJournalBytes)
      return fail(ErrorCode::corrupt, about(path) + ": " + std::to_string(stream.size_bytes) +
                                          " bytes, more than " + std::to_string(kMaxJournalBytes));
    journal.stream = std::move(stream);
    return journal;
  }
  return fail(ErrorCode::corrupt, about(path) + ": not a file with data");
}

Result<std::unique_ptr<Provenance>> parse(const JournalFile& journal, const std::string& path) {
  if (!journal.stream) return std::unique_ptr<Provenance>();
  RS_TRY_CTX(auto provenance, path, Provenance::parse(journal.source(), journal.stream->size_bytes));
  return std::make_unique<Provenance>(std::move(provenance));
}

// Where the first `bytes` of a stream lie on the volume. Nothing: not all of them lie there as they are.
std::optional<std::vector<ByteRange>> places(const JournalFile& journal, std::uint64_t bytes) {
  const auto& stream = *journal.stream;
  if (stream.resident || stream.compressed || stream.encrypted || stream.valid_bytes < bytes) return {};
  std::vector<ByteRange> found;
  std::uint64_t next = 0;
  for (const auto& extent : journal.snapshot.volume().device_extents(stream)) {
    if (next >= bytes) break;
    if (extent.stream_offset != next) return {};  // a hole
    found.push_back({extent.device.offset, std::min(extent.device.length, bytes - next)});
    next += extent.device.length;
  }
  if (next < bytes) return {};
  return found;
}

// Whether both begin with the same `bytes` bytes, found out without reading most of them. False also where
// that would take reading them.
Result<bool> begin_alike(const JournalFile& now, const JournalFile& before, std::uint64_t bytes,
                         const RangeSet& changed) {
  if (now.stream->size_bytes < bytes || before.stream->size_bytes < bytes) return false;
  if (now.stream->resident && before.stream->resident)
    return std::memcmp(now.stream->resident_data.data(), before.stream->resident_data.data(), bytes) == 0;
  const auto here = places(now, bytes);
  if (!here || here != places(before, bytes)) return false;
  Bytes a, b;
  for (const auto& place : *here)
    for (auto range : changed.covered(place))
      while (!range.empty()) {
        const auto count = std::min(range.length, kReadBytes);
        a.resize(count);
        b.resize(count);
        RS_CHECK(now.snapshot.device().read(range.offset, a));
        RS_CHECK(before.snapshot.device().read(range.offset, b));
        if (a != b) return false;
        range = {range.offset + count, range.length - count};
      }
  return true;
}

// The beginning parsed to what `before` says, and the rest on top.
Result<Journals> go_on(const JournalFile& now, std::unique_ptr<Provenance> known,
                       std::uint64_t earlier_bytes) {
  Journals journals;
  if (known != nullptr) {
    journals.now = std::move(known);
  } else {
    RS_TRY(auto provenance, Provenance::parse(now.source(), earlier_bytes));
    journals.now = std::make_unique<Provenance>(std::move(provenance));
  }
  auto earlier = std::make_unique<EarlierProvenance>(*journals.now);
  RS_CHECK(journals.now->extend(now.source(), now.stream->size_bytes, *earlier));
  journals.continued = earlier.get();
  journals.before = std::move(earlier);
  return journals;
}

}  // namespace

Result<Journals> read_journals(const Snapshot& now, const Snapshot* before, const std::string& path,
                               const RangeSet& changed, std::unique_ptr<Provenance> known) {
  RS_TRY(const auto now_file, find_journal(now, path));
  if (before == nullptr || !now_file.stream) {
    Journals journals;
    RS_TRY(journals.now, parse(now_file, path));
    return journals;
  }
  RS_TRY(const auto before_file, find_journal(*before, path));
  if (before_file.stream) {
    const auto earlier_bytes = known != nullptr ? known->valid_bytes() : before_file.stream->size_bytes;
    RS_TRY_CTX(const bool alike, about(path), begin_alike(now_file, before_file, earlier_bytes, changed));
    if (alike)
      if (auto journals = go_on(now_file, std::move(known), earlier_bytes)) return journals;
  }
  Journals journals;
  RS_TRY(journals.now, parse(now_file, path));
  RS_TRY(journals.before, parse(before_file, path));
  return journals;
}

}  // namespace roamstead::extract
