#include "common/registry/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "common/registry/hive.h"
#include "common/registry/marvin32.h"

namespace roamstead::registry {
namespace {

constexpr std::size_t kEntryHeaderBytes = 40;
constexpr std::uint64_t kGrowthStep = 1u << 20;  // hives grow by less than this at a time

// One sealed entry of a new log; its pages follow the references.
struct Entry {
  std::uint32_t sequence = 0;
  std::uint32_t flags = 0;
  std::uint32_t bins_bytes = 0;
  std::uint32_t pages = 0;
  ByteView references;  // offset and size, 4 bytes each
  ByteView content;
};

// A log that is sound in itself. `entries` (new format) have consecutive sequence numbers.
struct Log {
  const LogFile* file = nullptr;
  BaseBlock base;
  std::vector<Entry> entries;
  std::string remark;
};

Result<Entry> parse_entry(ByteView log, std::size_t at) {
  auto bad = [&](std::string_view what) {
    return fail(ErrorCode::corrupt, fmt::format("entry at offset {}: {}", at, what));
  };
  if (log.size() - at < kEntryHeaderBytes || as_text(log.subspan(at, 4)) != "HvLE") return bad("no 'HvLE'");
  const auto size = load_le<std::uint32_t>(log, at + 4);
  if (size < kEntryHeaderBytes || size % kSectorBytes != 0 || size > log.size() - at)
    return bad("its size is wrong");
  const auto whole = log.subspan(at, size);
  if (marvin32(whole.first(32)) != load_le<std::uint64_t>(whole, 32))
    return bad("hash of its header is wrong");
  if (marvin32(whole.subspan(kEntryHeaderBytes)) != load_le<std::uint64_t>(whole, 24))
    return bad("hash of its pages is wrong");
  Entry entry;
  entry.flags = load_le<std::uint32_t>(whole, 8);
  entry.sequence = load_le<std::uint32_t>(whole, 12);
  entry.bins_bytes = load_le<std::uint32_t>(whole, 16);
  entry.pages = load_le<std::uint32_t>(whole, 20);
  if (entry.bins_bytes == 0 || entry.bins_bytes % kPageBytes != 0 || entry.bins_bytes > kMaxBinsBytes)
    return bad("hive bins are not whole pages");
  if (entry.pages > (size - kEntryHeaderBytes) / 8) return bad("more pages than it has room for");
  entry.references = whole.subspan(kEntryHeaderBytes, std::size_t{entry.pages} * 8);
  entry.content = whole.subspan(kEntryHeaderBytes + entry.references.size());
  std::uint64_t content_bytes = 0;
  for (std::size_t i = 0; i < entry.pages; ++i) {
    const auto offset = load_le<std::uint32_t>(entry.references, i * 8);
    const auto bytes = load_le<std::uint32_t>(entry.references, i * 8 + 4);
    if (offset > entry.bins_bytes || bytes > entry.bins_bytes - offset)
      return bad("a page lies outside the hive");
    content_bytes += bytes;
  }
  if (content_bytes > entry.content.size()) return bad("its pages are cut off");
  return entry;
}

// Entries as far as they are sealed and consecutive; what follows is of an earlier round of the log.
void read_entries(Log& log) {
  const auto bytes = log.file->bytes;
  for (std::size_t at = kSectorBytes; at < bytes.size();) {
    auto entry = parse_entry(bytes, at);
    if (!entry) {
      if (log.entries.empty()) log.remark = entry.error().message;
      return;
    }
    const auto expected = log.entries.empty() ? log.base.sequence_1 : log.entries.back().sequence + 1;
    if (entry->sequence != expected) {
      log.remark =
          fmt::format("entry at offset {} has sequence number {} instead of {}: left over from before", at,
                      entry->sequence, expected);
      return;
    }
    at += load_le<std::uint32_t>(bytes, at + 4);
    log.entries.push_back(*entry);
  }
}

Result<Log> read_log(const LogFile& file) {
  if (file.bytes.empty()) return fail(ErrorCode::corrupt, "is empty");
  Log log;
  log.file = &file;
  RS_TRY(log.base, parse_base_block(file.bytes));
  if (!log.base.checksum_valid) return fail(ErrorCode::corrupt, "checksum of its base block is wrong");
  if (log.base.sequence_1 != log.base.sequence_2)
    return fail(ErrorCode::corrupt, fmt::format("was not finished: sequence numbers {} and {}",
                                                log.base.sequence_1, log.base.sequence_2));
  if (log.base.file_type == kNewLogFile) {
    read_entries(log);
    if (log.entries.empty()) return fail(ErrorCode::corrupt, "holds no sound entry: " + log.remark);
  } else if (log.base.file_type != kOldLogFile && log.base.file_type != 2) {
    return fail(ErrorCode::corrupt, fmt::format("is no log: file type {}", log.base.file_type));
  }
  return log;
}

class Recoverer {
 public:
  Recoverer(ByteView primary, const std::string& name) : primary_(primary), name_(name) {}

  Result<Recovery> run(std::span<const LogFile> logs) {
    RS_TRY(const bool dirty, judge_primary(logs));
    if (!dirty) return std::move(result_);
    result_.report.was_dirty = true;
    read_logs(logs);
    if (logs_.empty()) return refuse("no log of it can be used");
    if (!sound_base_) RS_CHECK(take_base_block());
    std::stable_partition(logs_.begin(), logs_.end(),
                          [](const Log& log) { return log.base.file_type == kNewLogFile; });
    if (logs_.front().base.file_type == kNewLogFile) {
      RS_CHECK(apply_new());
    } else {
      RS_CHECK(apply_old());
    }
    return finish();
  }

 private:
  tl::unexpected<Error> refuse(const std::string& why) {
    std::string logs;
    for (const auto& log : result_.report.logs) logs += fmt::format("; {}: {}", log.name, log.remark);
    return fail(ErrorCode::corrupt,
                fmt::format("{}: dirty (sequence numbers {} and {}{}) and not recoverable: {}{}", name_,
                            base_.sequence_1, base_.sequence_2, sound_base_ ? "" : ", base block damaged",
                            why, logs));
  }

  void leave_out(const Log& log, std::string why) {
    LogReport report;
    report.name = log.file->name;
    report.remark = std::move(why);
    report.old_format = log.base.file_type != kNewLogFile;
    result_.report.logs.push_back(std::move(report));
  }

  // Whether the hive is dirty. One without a readable base block is if a log can lend one.
  Result<bool> judge_primary(std::span<const LogFile> logs) {
    auto base = parse_base_block(primary_);
    if (!base && (logs.empty() || primary_.size() <= kBaseBlockBytes))
      return fail(std::move(base).error().with(name_));
    if (base) base_ = *base;
    sound_base_ = base && base_.checksum_valid;
    if (sound_base_ && base_.file_type != kPrimaryFile)
      return fail(ErrorCode::unsupported, name_ + ": this is a hive's log, not a hive");
    return !sound_base_ || base_.dirty();
  }

  void read_logs(std::span<const LogFile> logs) {
    for (const auto& file : logs) {
      log_bytes_ += file.bytes.size();
      auto log = read_log(file);
      if (log) {
        logs_.push_back(std::move(*log));
      } else {
        LogReport report;
        report.name = file.name;
        report.remark = log.error().message;
        result_.report.logs.push_back(std::move(report));
      }
    }
  }

  // The log written first is nearest to what the hive holds.
  Result<void> take_base_block() {
    const auto oldest = std::min_element(logs_.begin(), logs_.end(), [](const Log& a, const Log& b) {
      return a.base.sequence_1 < b.base.sequence_1;
    });
    const auto stamp = primary_.size() >= kBaseBlockBytes + kBinHeaderBytes
                           ? load_le<std::uint64_t>(primary_, kBaseBlockBytes + 20)
                           : 0;
    // The hive's own stamp lies in the damaged block and once more in the first bin: one of them must be the
    // log's.
    if (oldest->base.written_100ns != stamp && oldest->base.written_100ns != base_.written_100ns)
      return refuse("its base block is damaged and the log's is of another time");
    base_ = oldest->base;
    base_source_ = oldest->file->bytes;
    base_.sequence_2 = oldest->base.file_type == kNewLogFile ? oldest->entries.front().sequence : 0;
    result_.report.base_block_replaced = true;
    return {};
  }

  void start_file() {
    result_.report.sequence_before = base_.sequence_2;
    result_.file.reserve(primary_.size() +
                         (grown_bins_ > primary_.size() ? grown_bins_ - primary_.size() : 0) +
                         kBaseBlockBytes);
    result_.file.assign(primary_.begin(), primary_.end());
    if (!base_source_.empty()) {
      const auto sector = std::min<std::size_t>(base_source_.size(), kSectorBytes);
      std::copy_n(base_source_.begin(), sector, result_.file.begin());
      store_le<std::uint32_t>(result_.file, 28, kPrimaryFile);
    }
  }

  Result<void> set_bins_bytes(std::uint32_t bins_bytes) {
    // What a hive has grown by is in its logs: a claim beyond that is none to allocate by.
    if (bins_bytes > primary_.size() + log_bytes_ + kGrowthStep)
      return refuse(fmt::format("a log claims {} bytes of hive bins", bins_bytes));
    if (result_.file.size() < std::size_t{kBaseBlockBytes} + bins_bytes)
      result_.file.resize(std::size_t{kBaseBlockBytes} + bins_bytes);
    store_le<std::uint32_t>(result_.file, 40, bins_bytes);
    return {};
  }

  void put(std::uint64_t offset, ByteView content) {
    std::copy(content.begin(), content.end(),
              result_.file.begin() + static_cast<std::ptrdiff_t>(kBaseBlockBytes + offset));
    result_.report.changed.add({kBaseBlockBytes + offset, content.size()});
  }

  // Drops what the hive holds already and what does not join on.
  void choose_new() {
    std::vector<Log> chosen;
    for (auto& log : logs_) {
      if (log.base.file_type != kNewLogFile) {
        leave_out(log, "is of the old format beside logs of the new one");
        continue;
      }
      const auto first = log.entries.front().sequence;
      const auto last = log.entries.back().sequence;
      std::erase_if(log.entries, [&](const Entry& entry) { return entry.sequence < base_.sequence_2; });
      if (log.entries.empty()) {
        leave_out(log, fmt::format("entries {} to {} are in the hive already", first, last));
      } else {
        chosen.push_back(std::move(log));
      }
    }
    std::sort(chosen.begin(), chosen.end(), [](const Log& a, const Log& b) {
      return a.entries.front().sequence < b.entries.front().sequence;
    });
    // From the newest back, as long as one follows the other.
    std::size_t begin = chosen.empty() ? 0 : chosen.size() - 1;
    while (begin > 0 &&
           chosen[begin - 1].entries.back().sequence + 1 == chosen[begin].entries.front().sequence)
      --begin;
    for (std::size_t i = 0; i < begin; ++i)
      leave_out(
          chosen[i],
          fmt::format(
              "entries {} to {} are not followed by {}, the first of {}: they were brought into the hive "
              "before that log was begun",
              chosen[i].entries.front().sequence, chosen[i].entries.back().sequence,
              chosen[begin].entries.front().sequence, chosen[begin].file->name));
    logs_.assign(std::make_move_iterator(chosen.begin() + static_cast<std::ptrdiff_t>(begin)),
                 std::make_move_iterator(chosen.end()));
  }

  Result<void> apply_new() {
    choose_new();
    if (logs_.empty()) return refuse("its logs hold nothing newer");
    for (const auto& log : logs_) grown_bins_ = std::max(grown_bins_, log.entries.back().bins_bytes);
    if (grown_bins_ > primary_.size() + log_bytes_ + kGrowthStep) grown_bins_ = 0;  // refused below
    start_file();
    std::vector<LogReport> applied;
    for (const auto& log : logs_) {
      LogReport report;
      report.name = log.file->name;
      report.applied = true;
      report.remark = log.remark;
      report.first_sequence = log.entries.front().sequence;
      for (const auto& entry : log.entries) {
        RS_CHECK(set_bins_bytes(entry.bins_bytes));
        std::size_t at = 0;
        for (std::size_t i = 0; i < entry.pages; ++i) {
          const auto bytes = load_le<std::uint32_t>(entry.references, i * 8 + 4);
          put(load_le<std::uint32_t>(entry.references, i * 8), entry.content.subspan(at, bytes));
          at += bytes;
        }
        store_le<std::uint32_t>(result_.file, 144, entry.flags);
        report.last_sequence = entry.sequence;
        ++report.entries;
        report.pages += entry.pages;
        report.bytes += at;
      }
      applied.push_back(std::move(report));
    }
    sequence_ = applied.back().last_sequence;
    note_applied(std::move(applied));
    return {};
  }

  // Applied ones go first.
  void note_applied(std::vector<LogReport> applied) {
    auto& logs = result_.report.logs;
    logs.insert(logs.begin(), std::make_move_iterator(applied.begin()),
                std::make_move_iterator(applied.end()));
  }

  Result<void> apply_old() {
    std::vector<Log> fitting;
    for (auto& log : logs_) {
      if (log.base.written_100ns == base_.written_100ns) {
        fitting.push_back(std::move(log));
      } else {
        leave_out(log, fmt::format("is of {}, the hive of {}", time_text(log.base.written_100ns),
                                   time_text(base_.written_100ns)));
      }
    }
    if (fitting.empty()) return refuse("no log is of the hive's time");
    const auto newest = std::max_element(fitting.begin(), fitting.end(), [](const Log& a, const Log& b) {
      return a.base.sequence_1 < b.base.sequence_1;
    });
    for (const auto& log : fitting)
      if (&log != &*newest) leave_out(log, "another log is newer");
    start_file();
    return apply_bitmap(*newest);
  }

  Result<void> apply_bitmap(const Log& log) {
    const auto bytes = log.file->bytes;
    const auto bins_bytes = log.base.bins_bytes;
    const std::size_t sector = std::clamp<std::size_t>(log.base.clustering, 1, 8) * kSectorBytes;
    const std::size_t bitmap_bytes = bins_bytes / kSectorBytes / 8;
    if (bins_bytes == 0 || bins_bytes % kPageBytes != 0)
      return refuse(fmt::format("{} claims {} bytes of hive bins", log.file->name, bins_bytes));
    if (bytes.size() < sector + 4 + bitmap_bytes || as_text(bytes.subspan(sector, 4)) != "DIRT")
      return refuse(log.file->name + " has no bitmap of dirty pages");
    const auto bitmap = bytes.subspan(sector + 4, bitmap_bytes);
    RS_CHECK(set_bins_bytes(bins_bytes));
    LogReport report;
    report.name = log.file->name;
    report.applied = true;
    report.old_format = true;
    report.first_sequence = report.last_sequence = log.base.sequence_1;
    report.entries = 1;
    auto at = (sector + 4 + bitmap_bytes + sector - 1) / sector * sector;
    for (std::uint64_t page = 0; page < bins_bytes / kSectorBytes; ++page) {
      if ((std::to_integer<unsigned>(bitmap[page / 8]) >> (page % 8) & 1) == 0) continue;
      if (at > bytes.size() || bytes.size() - at < kSectorBytes)
        return refuse(log.file->name + " ends before its last page");
      put(page * kSectorBytes, bytes.subspan(at, kSectorBytes));
      at += kSectorBytes;
      ++report.pages;
      report.bytes += kSectorBytes;
    }
    sequence_ = log.base.sequence_1;
    std::vector<LogReport> applied;
    applied.push_back(std::move(report));
    note_applied(std::move(applied));
    return {};
  }

  Result<Recovery> finish() {
    auto& file = result_.file;
    // As the kernel does: one more than the last entry, so that the logs stay behind the hive.
    seal_base_block(file, sequence_ + 1);
    result_.report.changed.add({0, kSectorBytes});
    result_.report.sequence_after = sequence_ + 1;
    RS_TRY(const auto hive, Hive::open(file, name_));
    if (!hive.defects().empty())
      return refuse("with its logs applied it is not sound: " + hive.defects().front().to_string());
    if (auto root = hive.root(); !root)
      return refuse("with its logs applied it has no root: " + root.error().message);
    return std::move(result_);
  }

  ByteView primary_;
  std::string name_;
  BaseBlock base_;
  bool sound_base_ = false;
  ByteView base_source_;  // the log that lends its base block
  std::vector<Log> logs_;
  std::uint64_t log_bytes_ = 0;
  std::uint32_t grown_bins_ = 0;
  std::uint32_t sequence_ = 0;
  Recovery result_;
};

}  // namespace

Result<Recovery> recover(ByteView primary, const std::string& name, std::span<const LogFile> logs) {
  return Recoverer(primary, name).run(logs);
}

}  // namespace roamstead::registry
