#include "coordinator/repository/commit_record.h"

#include "common/base/archive.h"

namespace roamstead::repository {
namespace {

constexpr std::uint8_t kCommitFormat = 3;
// Read, never written:
constexpr std::uint8_t kFormatWithoutMerges = 1;
constexpr std::uint8_t kFormatWithoutSizes = 2;
constexpr std::size_t kMaxHeldBackBytes = 2u << 20;

// The encoded form; its order is the format.
struct Encoded {
  std::uint8_t format = kCommitFormat;
  CommitRecord record;

  template <class Archive>
  void serialize(Archive& archive) {
    auto& info = record.info;
    auto kind = static_cast<std::uint8_t>(info.kind);
    archive(format, record.profile, info.number, info.parent, kind, info.on_head_line, info.desktop,
            info.session, info.incarnation, info.ordinal, info.epoch, info.snapshot, info.final,
            info.committed_100ns, info.records, info.new_bytes, info.held_back);
    info.kind = static_cast<VersionKind>(kind);
    // Bytes as a string: cereal would write std::byte one by one.
    std::string root(as_text(record.root));
    archive(root, record.durable_pack.epoch, record.durable_pack.number, record.durable_bytes);
    if (format >= kFormatWithoutSizes) archive(info.merged);
    if (format > kFormatWithoutSizes) archive(info.logical_bytes);
    record.root = to_bytes(root);
  }
};

void shorten(std::vector<profile::HeldBack>& held_back) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < held_back.size(); ++i) {
    bytes += held_back[i].path.size() + held_back[i].reason.size() + 16;
    if (bytes <= kMaxHeldBackBytes) continue;
    auto more = held_back.size() - i;
    held_back.resize(i);
    held_back.push_back({"", std::to_string(more) + " more, too many to list"});
    return;
  }
}

}  // namespace

Bytes encode_commit_record(CommitRecord record) {
  shorten(record.info.held_back);
  Encoded encoded;
  encoded.record = std::move(record);
  return encode(encoded);
}

Result<CommitRecord> parse_commit_record(ByteView bytes) {
  if (bytes.empty()) return fail(ErrorCode::corrupt, "commit record: empty");
  auto format = std::to_integer<std::uint8_t>(bytes[0]);
  if (format > kCommitFormat || format < kFormatWithoutMerges)
    return fail(ErrorCode::unsupported, "commit record: format " + std::to_string(format) +
                                            ", this version reads up to " + std::to_string(kCommitFormat));
  RS_TRY_CTX(auto encoded, "commit record", decode<Encoded>(bytes));
  const auto& info = encoded.record.info;
  auto last_kind = format > kFormatWithoutMerges ? VersionKind::concurrent : VersionKind::restore;
  if (info.kind > last_kind || info.number == 0 || info.parent >= info.number || info.merged >= info.number)
    return fail(ErrorCode::corrupt, "commit record: version " + std::to_string(info.number) + " of parent " +
                                        std::to_string(info.parent) + " cannot be");
  return std::move(encoded.record);
}

}  // namespace roamstead::repository
