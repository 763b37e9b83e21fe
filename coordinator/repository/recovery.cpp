#include "coordinator/repository/recovery.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "common/base/crc32c.h"

namespace roamstead::repository {
namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

class PackReader {
 public:
  PackReader(const PackStore& packs, const Keystore& keys, PackNumber pack)
      : packs_(packs), keys_(keys), pack_(pack) {}

  struct Record {
    Location location;
    std::optional<CommitRecord> commit;
    std::uint64_t end = 0;
  };

  // The whole record at `offset`; a broken one is ErrorCode::corrupt.
  Result<Record> read(std::uint64_t offset, std::uint64_t limit) const {
    RS_TRY(auto header, packs_.read_header(pack_, offset));
    Record record{{pack_, offset, header}, std::nullopt, offset + header.record_bytes()};
    if (record.end > limit)
      return fail(ErrorCode::corrupt, where(offset) + ": the record reaches beyond what counts");
    RS_TRY(auto payload, packs_.read_payload(pack_, offset, header));
    if (header.type == ObjectType::commit) {
      auto commit = open_commit(header, payload);
      // The records of a deleted profile cannot be opened any more, and need not be.
      if (!commit && commit.error().code != ErrorCode::not_found)
        return fail(std::move(commit).error().with(where(offset)));
      if (commit) record.commit = std::move(*commit);
    }
    return record;
  }

  // The next place after `offset` where a record's header stands.
  Result<std::optional<std::uint64_t>> find_record(std::uint64_t offset, std::uint64_t end) const {
    RS_TRY(auto file, packs_.open_pack(pack_));
    Bytes window(1u << 20);
    while (offset + kRecordHeaderBytes <= end) {
      RS_TRY(auto count, file->read_at(offset, window));
      if (count < kRecordHeaderBytes) break;
      auto starts = count - kRecordHeaderBytes + 1;
      for (std::size_t i = 0; i < starts; ++i)
        if (window[i] == std::byte{0xE2} &&
            parse_record_header(ByteView(window).subspan(i, kRecordHeaderBytes)))
          return std::optional<std::uint64_t>(offset + i);
      offset += starts;
    }
    return std::optional<std::uint64_t>();
  }

 private:
  std::string where(std::uint64_t offset) const {
    return fmt::format("{} at offset {}", packs_.pack_path(pack_), offset);
  }

  Result<CommitRecord> open_commit(const RecordHeader& header, ByteView payload) const {
    RS_TRY(auto key, keys_.profile_key(header.profile));
    RS_TRY(auto content,
           unseal(key, header.id, header.type, header.compressed, payload, header.content_bytes));
    RS_TRY(auto commit, parse_commit_record(content));
    if (commit.profile != header.profile)
      return fail(ErrorCode::corrupt, "the commit record is of another profile than its header says");
    return commit;
  }

  const PackStore& packs_;
  const Keystore& keys_;
  PackNumber pack_;
};

void add_record(PackReader::Record&& record, CatalogUpdate& update) {
  update.objects.push_back(record.location);
  if (record.commit)
    update.versions.push_back(
        {record.commit->profile, std::move(record.commit->info), std::move(record.commit->root)});
}

bool says_durable(const CommitRecord& commit, PackNumber pack, std::uint64_t offset) {
  return commit.durable_pack.epoch == pack.epoch && PackNumber{commit.durable_pack} >= pack &&
         (commit.durable_pack.number > pack.number || commit.durable_bytes > offset);
}

// Whether a commit record after `offset` proves that `offset` was durable once: then what is broken there is
// damage.
Result<bool> proven_durable(const PackReader& reader, PackNumber pack, std::uint64_t offset,
                            std::uint64_t end) {
  for (auto at = offset + 1;;) {
    RS_TRY(auto found, reader.find_record(at, end));
    if (!found) return false;
    auto record = reader.read(*found, kNoLimit);
    if (record && record->commit && says_durable(*record->commit, pack, offset)) return true;
    at = record ? record->end : *found + 1;
  }
}

Result<bool> later_pack_exists(const PackStore& packs, PackNumber pack) {
  RS_TRY(auto siblings, packs.packs_of(pack.epoch));
  return !siblings.empty() && siblings.back().number > pack.number;
}

}  // namespace

Result<std::uint64_t> read_pack(const PackStore& packs, const Keystore& keys, PackNumber pack,
                                std::uint64_t begin, std::uint64_t certain_end, std::uint64_t limit,
                                CatalogUpdate& update, std::vector<std::string>& problems) {
  auto file = packs.open_pack(pack);
  if (!file) {
    // A header that never became durable: the writer had not told anybody of this pack.
    if (certain_end == 0 && file.error().code == ErrorCode::corrupt) return std::uint64_t{0};
    problems.push_back(file.error().to_string());
    return certain_end;
  }
  RS_TRY(auto size, (*file)->size());
  auto end = std::min(size, limit);
  if (certain_end != 0 && size < certain_end)
    problems.push_back(
        fmt::format("{}: has {} bytes, {} expected", packs.pack_path(pack), size, certain_end));
  PackReader reader(packs, keys, pack);
  auto at = std::max<std::uint64_t>(begin, kPackHeaderBytes);
  auto good_end = at;
  while (at < end) {
    auto record = reader.read(at, end);
    if (record) {
      at = good_end = record->end;
      add_record(std::move(*record), update);
      continue;
    }
    if (record.error().code != ErrorCode::corrupt) return fail(std::move(record).error());
    if (at >= certain_end) {
      RS_TRY(auto proven, proven_durable(reader, pack, at, end));
      if (!proven) break;
    }
    problems.push_back(record.error().to_string());
    RS_TRY(auto next, reader.find_record(at + 1, end));
    at = next.value_or(end);
  }
  auto length = std::max(good_end, std::min(certain_end, end));
  RS_TRY(auto mark, packs.mark(pack));
  update.indexed[pack] = {length, mark};
  return length;
}

Result<AcceptedLengths> catch_up(const PackStore& packs, const Keystore& keys, Catalog& catalog,
                                 const PackStore::Accepted& accepted, std::uint64_t below_epoch,
                                 std::vector<std::string>& problems) {
  AcceptedLengths lengths;
  RS_TRY(auto indexed, catalog.indexed());
  auto read = [&](PackNumber pack, std::uint64_t certain_end, std::uint64_t limit) -> Result<void> {
    auto known = indexed.find(pack);
    auto begin = known == indexed.end() ? 0 : known->second.bytes;
    CatalogUpdate update;
    RS_TRY(lengths[pack],
           read_pack(packs, keys, pack, begin, std::max(begin, certain_end), limit, update, problems));
    if (!update.objects.empty() || lengths[pack] != begin) RS_CHECK(catalog.apply(update));
    return {};
  };
  for (const auto& [pack, length] : accepted.lengths) {
    auto known = indexed.find(pack);
    lengths[pack] = length;
    if (length == 0 || (known != indexed.end() && known->second.bytes >= length)) continue;
    RS_CHECK(read(pack, length, length));
    lengths[pack] = length;
  }
  RS_TRY(auto epochs, packs.epochs());
  for (auto epoch : epochs) {
    if (epoch < accepted.by_epoch || epoch >= below_epoch) continue;
    RS_TRY(auto numbers, packs.packs_of(epoch));
    for (auto pack : numbers) {
      // A writer begins a pack only when the one before is durable.
      RS_TRY(auto followed, later_pack_exists(packs, pack));
      std::uint64_t certain_end = 0;
      if (followed) {
        RS_TRY(auto file, packs.open_pack(pack));
        RS_TRY(certain_end, file->size());
      }
      RS_CHECK(read(pack, certain_end, kNoLimit));
    }
  }
  return lengths;
}

Result<bool> is_of_other_history(const Catalog& catalog, const PackStore& packs,
                                 const PackStore::Accepted& accepted, std::uint64_t claimed_epoch) {
  RS_TRY(auto indexed, catalog.indexed());
  for (const auto& [pack, known] : indexed) {
    if (pack.epoch >= claimed_epoch) return true;
    if (pack.epoch < accepted.by_epoch) {
      auto counts = accepted.lengths.find(pack);
      if (counts == accepted.lengths.end() || known.bytes > counts->second) return true;
    }
    // A pack that cannot be opened is damage or loss, which a new catalog would not mend.
    auto mark = packs.mark(pack);
    if (mark && *mark != known.mark) return true;
  }
  return false;
}

}  // namespace roamstead::repository
