#include "common/wire/batch_stream.h"

#include <algorithm>
#include <tuple>

#include "common/base/archive.h"

namespace roamstead::wire {
namespace {

template <class Archive, class Batch>
void head(Archive& archive, Batch& batch) {
  archive(batch.incarnation, batch.ordinal, batch.quiesced, batch.final, batch.taken_100ns, batch.snapshot,
          batch.held_back);
}

bool within(ByteRange inner, ByteRange outer) {
  return inner.offset >= outer.offset && inner.length <= outer.length &&
         inner.offset - outer.offset <= outer.length - inner.length;
}

constexpr std::size_t kMaxSecurityBytes = 64u << 10;  // as large as Windows lets a security descriptor be

// What check_batch leaves to the type system, which foreign bytes do not obey.
Result<void> check_entry(const profile::Put& put) {
  const auto& entry = put.entry;
  if (entry.kind > profile::kLastEntryKind)
    return fail(ErrorCode::protocol, "batch: '" + put.path.text() + "' is of unknown kind " +
                                         std::to_string(static_cast<unsigned>(entry.kind)));
  if ((entry.metadata.attributes & ~profile::kRoamingAttributes) != 0)
    return fail(ErrorCode::protocol, "batch: '" + put.path.text() + "' has attributes that do not roam");
  if (entry.metadata.security.size() > kMaxSecurityBytes)
    return fail(ErrorCode::protocol, "batch: '" + put.path.text() + "' has a security descriptor of " +
                                         std::to_string(entry.metadata.security.size()) + " bytes");
  return {};
}

}  // namespace

Result<Bytes> encode_batch(const profile::Batch& batch) {
  BoundedOutputArchive archive;
  head(archive, batch);
  archive(batch.records);
  auto encoded = archive.take();
  if (encoded.size() > kMaxEncodedBatchBytes)
    return fail(ErrorCode::full, "batch " + std::to_string(batch.ordinal) + " has records of " +
                                     std::to_string(encoded.size()) + " bytes, more than " +
                                     std::to_string(kMaxEncodedBatchBytes));
  return encoded;
}

Result<profile::Batch> decode_batch(ByteView encoded) {
  profile::Batch batch;
  try {
    BoundedInputArchive archive(encoded);
    head(archive, batch);
    cereal::size_type count = 0;
    archive(cereal::make_size_tag(count));
    if (count > profile::kMaxBatchRecords)
      return fail(ErrorCode::protocol, "batch: " + std::to_string(count) + " records, more than " +
                                           std::to_string(profile::kMaxBatchRecords));
    for (; count != 0; --count) archive(batch.records.emplace_back());
    if (archive.remaining() != 0)
      return fail(ErrorCode::protocol,
                  "batch: " + std::to_string(archive.remaining()) + " bytes too many at the end");
  } catch (const std::exception& error) {  // cereal reports by exception
    return fail(ErrorCode::protocol, std::string("batch: ") + error.what());
  }
  for (const auto& record : batch.records)
    if (const auto* put = std::get_if<profile::Put>(&record)) RS_CHECK(check_entry(*put));
  RS_CHECK(profile::check_batch(batch));
  return batch;
}

Result<ContentLayout> ContentLayout::of(const profile::Batch& batch) {
  ContentLayout layout;
  for (std::size_t record = 0; record < batch.records.size(); ++record) {
    bool overflow = false;
    profile::visit_content(batch.records[record], [&](std::size_t stream, ByteRange range) {
      layout.pieces_.push_back({record, stream, range, layout.total_bytes_});
      overflow = overflow || range.length > ~std::uint64_t{0} - layout.total_bytes_;
      layout.total_bytes_ += range.length;
    });
    if (overflow) return fail(ErrorCode::invalid_argument, "batch: more content than 64 bits can count");
  }
  return layout;
}

Result<std::uint64_t> ContentLayout::locate(std::size_t record, std::size_t stream, ByteRange range) const {
  auto key = std::tuple(record, stream, range.offset);
  auto after =
      std::upper_bound(pieces_.begin(), pieces_.end(), key, [](const auto& wanted, const Piece& piece) {
        return wanted < std::tuple(piece.record, piece.stream, piece.range.offset);
      });
  if (after != pieces_.begin()) {
    const auto& piece = *std::prev(after);
    if (piece.record == record && piece.stream == stream && within(range, piece.range))
      return piece.position + (range.offset - piece.range.offset);
  }
  return fail(ErrorCode::invalid_argument, "no content at " + std::to_string(range.offset) + " of stream " +
                                               std::to_string(stream) + " of record " +
                                               std::to_string(record));
}

}  // namespace roamstead::wire
