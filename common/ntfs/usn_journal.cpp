#include "common/ntfs/usn_journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/base/text.h"
#include "common/ntfs/record.h"

namespace roamstead::ntfs {
namespace {

constexpr std::uint64_t kPageBytes = 4096;  // no record crosses its end; what is left of a page is zero
constexpr std::size_t kChunkBytes = 1u << 20;
constexpr std::size_t kMinRecordBytes = 8;
constexpr std::uint16_t kRangeVersion = 4;

// Where the fields of versions 2 and 3 lie: 3 has references of 128 bits.
struct Layout {
  std::size_t parent, usn, time, reason, attributes, name_bytes, name_at, end;
};
constexpr Layout kVersion2{16, 24, 32, 40, 52, 56, 58, 60};
constexpr Layout kVersion3{24, 40, 48, 56, 68, 72, 74, 76};

}  // namespace

Result<ParsedUsnRecord> parse_usn_record(ByteView bytes, std::uint64_t usn) {
  const auto bad = [&](std::string_view what) {
    return fail(ErrorCode::corrupt, fmt::format("USN record {}: {}", usn, what));
  };
  if (bytes.size() < kMinRecordBytes) return bad("no room for a record");
  ParsedUsnRecord parsed;
  parsed.length = load_le<std::uint32_t>(bytes);
  if (parsed.length < kMinRecordBytes || parsed.length % 8 != 0 || parsed.length > bytes.size())
    return bad(fmt::format("{} bytes long with {} left", parsed.length, bytes.size()));
  const auto version = load_le<std::uint16_t>(bytes, 4);
  if (version == kRangeVersion) return parsed;
  if (version != 2 && version != 3) return bad(fmt::format("version {}", version));
  const auto& layout = version == 2 ? kVersion2 : kVersion3;
  const auto record = bytes.first(parsed.length);
  if (record.size() < layout.end) return bad(fmt::format("{} bytes in version {}", record.size(), version));
  UsnRecord out;
  out.version = version;
  out.file = to_reference(load_le<std::uint64_t>(record, 8));
  out.parent = to_reference(load_le<std::uint64_t>(record, layout.parent));
  out.usn = load_le<std::uint64_t>(record, layout.usn);
  out.time_100ns = load_le<std::uint64_t>(record, layout.time);
  out.reason = load_le<std::uint32_t>(record, layout.reason);
  out.attributes = load_le<std::uint32_t>(record, layout.attributes);
  if (out.usn != usn) return bad(fmt::format("says it is {}", out.usn));
  const std::size_t name_bytes = load_le<std::uint16_t>(record, layout.name_bytes);
  const std::size_t name_at = load_le<std::uint16_t>(record, layout.name_at);
  if (name_at < layout.end || name_at > record.size() || name_bytes > record.size() - name_at ||
      name_bytes % 2 != 0)
    return bad(fmt::format("a name of {} bytes at {} of {}", name_bytes, name_at, record.size()));
  out.name = utf16le_to_wtf8(record.subspan(name_at, name_bytes));
  parsed.record = std::move(out);
  return parsed;
}

Result<UsnJournal> UsnJournal::open(const Volume& volume) {
  RS_TRY(const auto reference, volume.lookup("$Extend/$UsnJrnl"));
  RS_TRY(const auto file, volume.record(reference.record));
  const StreamInfo* records = nullptr;
  const StreamInfo* settings = nullptr;
  for (const auto& stream : file.streams) {
    if (stream.name == "$J") records = &stream;
    if (stream.name == "$Max") settings = &stream;
  }
  if (records == nullptr) return fail(ErrorCode::not_found, "$UsnJrnl has no stream $J");
  UsnJournal journal(volume, *records);
  if (settings != nullptr && settings->size_bytes >= 32) {
    Bytes value(32);  // maximum size, allocation delta, id, lowest valid USN
    RS_CHECK(volume.read(*settings, 0, value));
    journal.id_ = load_le<std::uint64_t>(value, 16);
    journal.first_usn_ = load_le<std::uint64_t>(value, 24);
  }
  // What was dropped is a hole at the start.
  const auto& runs = journal.stream_.runs;
  const auto stored = std::find_if(runs.begin(), runs.end(), [](const Run& run) { return !run.sparse; });
  if (!journal.stream_.resident)
    journal.first_usn_ =
        std::max(journal.first_usn_, stored == runs.end() ? journal.stream_.size_bytes
                                                          : stored->vcn * volume.info().cluster_bytes);
  journal.first_usn_ = std::min(journal.first_usn_, journal.stream_.size_bytes);
  return journal;
}

Result<UsnJournal::ReadResult> UsnJournal::read(std::uint64_t from_usn,
                                                const std::function<bool(const UsnRecord&)>& visit,
                                                std::uint64_t limit_bytes) const {
  ReadResult result;
  const auto end = stream_.size_bytes;
  result.from_usn = std::max(from_usn, first_usn_);
  if (result.from_usn >= end) {
    result.from_usn = end;
    return result;
  }
  if (end - result.from_usn > limit_bytes) {
    // Whole pages: it is only at their starts that a record is known to begin.
    result.from_usn = (end - limit_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  }
  Bytes chunk;
  for (auto page = result.from_usn / kPageBytes * kPageBytes; page < end;) {
    chunk.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, end - page)));
    RS_CHECK_CTX("$UsnJrnl:$J", volume_->read(stream_, page, chunk));
    for (std::size_t at = 0; at < chunk.size(); at += kPageBytes) {
      const auto bytes = ByteView(chunk).subspan(at, std::min<std::size_t>(kPageBytes, chunk.size() - at));
      for (std::size_t place = 0; bytes.size() - place >= kMinRecordBytes;) {
        if (load_le<std::uint32_t>(bytes, place) == 0) break;  // the rest of the page
        const auto parsed = parse_usn_record(bytes.subspan(place), page + at + place);
        if (!parsed) {
          ++result.damaged_pages;
          break;
        }
        place += parsed->length;
        if (!parsed->record || parsed->record->usn < result.from_usn) continue;
        ++result.records;
        if (!visit(*parsed->record)) return result;
      }
    }
    page += chunk.size();
  }
  return result;
}

Result<std::vector<UsnRename>> UsnJournal::renames(std::uint64_t from_usn, std::size_t limit_files) const {
  struct State {
    UsnRename rename;
    bool old_known = false;
    bool renamed = false;
    bool made_or_gone = false;
  };
  std::map<FileReference, State> files;
  const auto note = [&](const UsnRecord& record) {
    constexpr auto kWanted = kUsnFileCreate | kUsnFileDelete | kUsnRenameOldName | kUsnRenameNewName;
    if ((record.reason & kWanted) == 0) return true;
    auto found = files.find(record.file);
    if (found == files.end()) {
      if (files.size() >= limit_files) return true;
      found = files.emplace(record.file, State{}).first;
      found->second.rename.file = record.file;
    }
    auto& state = found->second;
    if ((record.reason & (kUsnFileCreate | kUsnFileDelete)) != 0) state.made_or_gone = true;
    if ((record.reason & kUsnRenameOldName) != 0 && !state.old_known) {
      state.rename.old_parent = record.parent;
      state.rename.old_name = record.name;
      state.old_known = true;
    }
    if ((record.reason & kUsnRenameNewName) != 0) {
      state.rename.new_parent = record.parent;
      state.rename.new_name = record.name;
      state.rename.usn = record.usn;
      state.renamed = true;
    }
    return true;
  };
  RS_CHECK(read(from_usn, note));
  std::vector<UsnRename> renames;
  for (auto& [reference, state] : files) {
    auto& rename = state.rename;
    const bool moved = rename.old_parent != rename.new_parent || rename.old_name != rename.new_name;
    if (state.old_known && state.renamed && !state.made_or_gone && moved)
      renames.push_back(std::move(rename));
  }
  return renames;
}

}  // namespace roamstead::ntfs
