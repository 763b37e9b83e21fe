#include "coordinator/repository/pack_store.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "common/base/crc32c.h"

namespace roamstead::repository {
namespace {

constexpr std::uint64_t kAcceptedMagic = 0x3130504343415352;  // "RSACCP01"
constexpr std::uint64_t kMaxAcceptedBytes = 64u << 20;
constexpr std::size_t kMaxOpenPacks = 200;
constexpr int kClaimAttempts = 16;

// Exactly `digits` decimal digits and the suffix; other names in the folder are not ours.
std::optional<std::uint64_t> parse_number(std::string_view name, std::size_t digits,
                                          std::string_view suffix) {
  if (name.size() < digits + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), value);
  if (error != std::errc() || end != name.data() + name.size() || value == 0) return std::nullopt;
  return value;
}

Result<AcceptedLengths> parse_accepted(ByteView bytes) {
  if (bytes.size() < 20 ||
      load_le<std::uint32_t>(bytes, bytes.size() - 4) != crc32c(bytes.first(bytes.size() - 4)))
    return fail(ErrorCode::corrupt, "the checksum at the end does not match");
  ByteReader reader(bytes.first(bytes.size() - 4));
  RS_TRY(auto magic, reader.le<std::uint64_t>());
  if (magic != kAcceptedMagic) return fail(ErrorCode::corrupt, "'RSACCP01' expected at offset 0");
  RS_TRY(auto count, reader.le<std::uint64_t>());
  if (count != reader.remaining() / 20)
    return fail(ErrorCode::corrupt, "the count at offset 8 does not fit the size");
  AcceptedLengths lengths;
  for (std::uint64_t i = 0; i < count; ++i) {
    PackNumber pack;
    RS_TRY(pack.epoch, reader.le<std::uint64_t>());
    RS_TRY(pack.number, reader.le<std::uint32_t>());
    RS_TRY(lengths[pack], reader.le<std::uint64_t>());
  }
  return lengths;
}

}  // namespace

PackStore::PackStore(os::FileSystem& files, std::string repository_directory, Guid repository)
    : files_(files), directory_(std::move(repository_directory)), repository_(repository) {}

std::string PackStore::packs_directory() const { return os::join_path(directory_, "packs"); }
std::string PackStore::epoch_directory(std::uint64_t epoch) const {
  return os::join_path(packs_directory(), fmt::format("{:08}", epoch));
}
std::string PackStore::pack_path(PackNumber pack) const {
  return os::join_path(epoch_directory(pack.epoch), fmt::format("{:05}.pack", pack.number));
}

Result<std::vector<std::uint64_t>> PackStore::epochs() const {
  RS_TRY(auto names, files_.list_directory(packs_directory()));
  std::vector<std::uint64_t> found;
  for (const auto& name : names)
    if (auto epoch = parse_number(name, 8, "")) found.push_back(*epoch);
  std::sort(found.begin(), found.end());
  return found;
}

Result<std::uint64_t> PackStore::claim_epoch() {
  for (int attempt = 0; attempt < kClaimAttempts; ++attempt) {
    RS_TRY(auto existing, epochs());
    auto epoch = existing.empty() ? 1 : existing.back() + 1;
    auto directory = epoch_directory(epoch);
    RS_CHECK(files_.make_directories(directory));
    auto claim = files_.open(os::join_path(directory, "claim"), os::OpenMode::create_new);
    if (!claim && claim.error().code == ErrorCode::exists) continue;
    if (!claim) return fail(std::move(claim).error());
    RS_CHECK((*claim)->sync());
    RS_CHECK(files_.sync_directory(directory));
    RS_CHECK(files_.sync_directory(packs_directory()));
    return epoch;
  }
  return fail(ErrorCode::busy, packs_directory() + ": other writers keep taking the next writer epoch");
}

Result<bool> PackStore::superseded(std::uint64_t epoch) const {
  RS_TRY(auto existing, epochs());
  return !existing.empty() && existing.back() > epoch;
}

Result<PackStore::Accepted> PackStore::accepted() const {
  RS_TRY(auto existing, epochs());
  for (auto epoch = existing.rbegin(); epoch != existing.rend(); ++epoch) {
    auto path = os::join_path(epoch_directory(*epoch), "accepted");
    RS_TRY(auto there, files_.exists(path));
    if (!there) continue;
    RS_TRY(auto bytes, os::read_file(files_, path, kMaxAcceptedBytes));
    RS_TRY_CTX(auto lengths, path, parse_accepted(bytes));
    return Accepted{*epoch, std::move(lengths)};
  }
  return Accepted{};
}

Result<void> PackStore::record_accepted(std::uint64_t by_epoch, const AcceptedLengths& lengths) {
  ByteWriter out;
  out.le(kAcceptedMagic);
  out.le(std::uint64_t{lengths.size()});
  for (const auto& [pack, length] : lengths) {
    out.le(pack.epoch);
    out.le(pack.number);
    out.le(length);
  }
  out.le(crc32c(out.view()));
  return os::write_file_durably(files_, os::join_path(epoch_directory(by_epoch), "accepted"), out.view());
}

Result<std::vector<PackNumber>> PackStore::packs_of(std::uint64_t epoch) const {
  RS_TRY(auto names, files_.list_directory(epoch_directory(epoch)));
  std::vector<PackNumber> packs;
  for (const auto& name : names)
    if (auto number = parse_number(name, 5, ".pack"); number && *number <= 0xFFFFFFFF)
      packs.push_back({epoch, static_cast<std::uint32_t>(*number)});
  std::sort(packs.begin(), packs.end());
  return packs;
}

Result<std::shared_ptr<os::File>> PackStore::open_pack(PackNumber pack) const {
  RS_TRY(auto opened, open(pack));
  return opened.file;
}

Result<Guid> PackStore::mark(PackNumber pack) const {
  RS_TRY(auto opened, open(pack));
  return opened.mark;
}

Result<PackStore::OpenPack> PackStore::open(PackNumber pack) const {
  {
    std::lock_guard guard(mutex_);
    auto known = open_.find(pack);
    if (known != open_.end()) return known->second;
  }
  auto path = pack_path(pack);
  RS_TRY(auto opened, files_.open(path, os::OpenMode::read));
  Bytes bytes(kPackHeaderBytes);
  RS_TRY(auto count, opened->read_at(0, bytes));
  RS_TRY_CTX(auto header, path, parse_pack_header(ByteView(bytes).first(count)));
  if (header.repository != repository_)
    return fail(ErrorCode::corrupt, path + ": belongs to repository " + header.repository.to_string() +
                                        ", not to " + repository_.to_string());
  if (header.pack != pack)
    return fail(ErrorCode::corrupt, fmt::format("{}: its header says it is pack {} of epoch {}", path,
                                                header.pack.number, header.pack.epoch));
  OpenPack made{std::move(opened), header.mark};
  std::lock_guard guard(mutex_);
  if (open_.size() >= kMaxOpenPacks) open_.erase(open_.begin());
  open_[pack] = made;
  return made;
}

Result<std::shared_ptr<os::File>> PackStore::create_pack(PackNumber pack) {
  RS_TRY(auto created, files_.open(pack_path(pack), os::OpenMode::create_new));
  auto mark = Guid::random();
  auto written = created->write_at(0, encode_pack_header({repository_, pack, mark}));
  if (!written) {  // no room: the number must be free for the next attempt
    if (auto removed = files_.remove(pack_path(pack)); !removed)
      return fail(std::move(removed).error().with(written.error().to_string()));
    return fail(std::move(written).error());
  }
  std::shared_ptr<os::File> file = std::move(created);
  std::lock_guard guard(mutex_);
  open_[pack] = {file, mark};
  return file;
}

Result<RecordHeader> PackStore::read_header(PackNumber pack, std::uint64_t offset) const {
  RS_TRY(auto file, open_pack(pack));
  std::array<std::byte, kRecordHeaderBytes> bytes;
  RS_TRY(auto count, file->read_at(offset, bytes));
  auto where = [&] { return fmt::format("{} at offset {}", pack_path(pack), offset); };
  RS_TRY_CTX(auto header, where(), parse_record_header(ByteView(bytes).first(count)));
  return header;
}

Result<Bytes> PackStore::read_payload(PackNumber pack, std::uint64_t offset,
                                      const RecordHeader& header) const {
  RS_TRY(auto file, open_pack(pack));
  Bytes payload(header.payload_bytes);
  RS_CHECK(file->read_exactly(offset + kRecordHeaderBytes, payload));
  if (crc32c(payload) != header.payload_checksum)
    return fail(ErrorCode::corrupt,
                fmt::format("{} at offset {}: the checksum of the record's {} bytes does not match",
                            pack_path(pack), offset, header.payload_bytes));
  return payload;
}

}  // namespace roamstead::repository
