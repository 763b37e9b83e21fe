#include "coordinator/repository/pack.h"

#include "common/base/crc32c.h"

namespace roamstead::repository {
namespace {

constexpr std::uint64_t kPackMagic = 0x31304B4341505352;  // "RSPACK01"
constexpr std::uint32_t kRecordMagic =
    0x434552E2;  // E2 "REC": not text, so that a search finds few by chance
constexpr std::uint8_t kFlagCompressed = 1;
// Seal and an expansion that zstd never has.
constexpr std::uint32_t kMaxPayloadBytes = kMaxObjectBytes + 1024;

}  // namespace

Bytes encode_pack_header(const PackHeader& header) {
  ByteWriter out;
  out.le(kPackMagic);
  out.bytes(header.repository.bytes);
  out.le(header.pack.epoch);
  out.le(header.pack.number);
  out.bytes(header.mark.bytes);
  auto bytes = out.take();
  bytes.resize(kPackHeaderBytes);
  store_le(bytes, kPackHeaderBytes - 4, crc32c(ByteView(bytes).first(kPackHeaderBytes - 4)));
  return bytes;
}

Result<PackHeader> parse_pack_header(ByteView bytes) {
  if (bytes.size() < kPackHeaderBytes)
    return fail(ErrorCode::corrupt, "a pack header of " + std::to_string(kPackHeaderBytes) +
                                        " bytes expected at offset 0, " + std::to_string(bytes.size()) +
                                        " there");
  if (load_le<std::uint64_t>(bytes) != kPackMagic)
    return fail(ErrorCode::corrupt, "no pack: 'RSPACK01' expected at offset 0");
  if (load_le<std::uint32_t>(bytes, kPackHeaderBytes - 4) != crc32c(bytes.first(kPackHeaderBytes - 4)))
    return fail(ErrorCode::corrupt, "the pack header's checksum at offset 60 does not match");
  PackHeader header;
  header.repository = Guid::from(bytes.subspan(8, 16));
  header.pack = {load_le<std::uint64_t>(bytes, 24), load_le<std::uint32_t>(bytes, 32)};
  header.mark = Guid::from(bytes.subspan(36, 16));
  return header;
}

void append_record(Bytes& out, const RecordHeader& header, ByteView payload) {
  ByteWriter fields;
  fields.le(kRecordMagic);
  fields.le(static_cast<std::uint8_t>(header.type));
  fields.le(static_cast<std::uint8_t>(header.compressed ? kFlagCompressed : 0));
  fields.le(std::uint16_t{0});
  fields.le(static_cast<std::uint32_t>(payload.size()));
  fields.le(header.content_bytes);
  fields.bytes(header.id.bytes);
  fields.bytes(header.profile.bytes);
  fields.le(crc32c(payload));
  fields.le(crc32c(fields.view()));
  auto bytes = fields.take();
  out.insert(out.end(), bytes.begin(), bytes.end());
  out.insert(out.end(), payload.begin(), payload.end());
}

Result<RecordHeader> parse_record_header(ByteView bytes) {
  auto refuse = [](const std::string& why) { return fail(ErrorCode::corrupt, "no record: " + why); };
  if (bytes.size() < kRecordHeaderBytes) return refuse("ends within its header");
  if (load_le<std::uint32_t>(bytes) != kRecordMagic) return refuse("magic number expected");
  if (load_le<std::uint32_t>(bytes, kRecordHeaderBytes - 4) != crc32c(bytes.first(kRecordHeaderBytes - 4)))
    return refuse("the header's checksum does not match");
  RecordHeader header;
  header.type = static_cast<ObjectType>(load_le<std::uint8_t>(bytes, 4));
  auto flags = load_le<std::uint8_t>(bytes, 5);
  header.compressed = (flags & kFlagCompressed) != 0;
  header.payload_bytes = load_le<std::uint32_t>(bytes, 8);
  header.content_bytes = load_le<std::uint32_t>(bytes, 12);
  header.id = ObjectId::from(bytes.subspan(16, 32));
  header.profile = Guid::from(bytes.subspan(48, 16));
  header.payload_checksum = load_le<std::uint32_t>(bytes, 64);
  if (!is_known(header.type) || (flags & ~kFlagCompressed) != 0 || load_le<std::uint16_t>(bytes, 6) != 0)
    return refuse("of a type or with flags that this version does not know");
  if (header.payload_bytes > kMaxPayloadBytes || header.content_bytes > kMaxObjectBytes)
    return refuse("impossibly long");
  return header;
}

}  // namespace roamstead::repository
