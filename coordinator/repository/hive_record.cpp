#include "coordinator/repository/hive_record.h"

namespace roamstead::repository {
namespace {

constexpr std::uint8_t kFormat = 1;

void write_counted(ByteWriter& out, ByteView bytes) {
  out.le(static_cast<std::uint32_t>(bytes.size()));
  out.bytes(bytes);
}

Result<ByteView> read_counted(ByteReader& reader) {
  RS_TRY(auto length, reader.le<std::uint32_t>());
  return reader.take(length);
}

Result<void> read_format(ByteReader& reader, const char* what) {
  RS_TRY(auto format, reader.le<std::uint8_t>());
  if (format != kFormat)
    return fail(ErrorCode::corrupt, std::string(what) + ": unknown format " + std::to_string(format));
  return {};
}

Result<void> expect_end(const ByteReader& reader, const char* what) {
  if (reader.remaining() != 0)
    return fail(ErrorCode::corrupt,
                std::string(what) + ": bytes too many at offset " + std::to_string(reader.offset()));
  return {};
}

}  // namespace

profile::RegistryValue ValueRecord::value() const {
  profile::RegistryValue value{name, type, size_bytes, {}};
  if (const auto* data = std::get_if<Bytes>(&content.where)) value.data = *data;
  return value;
}

Bytes encode_record(const KeyRecord& record) {
  ByteWriter out;
  out.le(kFormat);
  out.le(record.entry.written_100ns);
  write_counted(out, as_bytes(record.path.text()));
  write_counted(out, record.entry.class_name);
  write_counted(out, record.entry.security);
  return out.take();
}

Result<KeyRecord> parse_key_record(ByteView bytes) {
  constexpr const char* kWhat = "registry key";
  ByteReader reader(bytes);
  KeyRecord record;
  RS_CHECK(read_format(reader, kWhat));
  RS_TRY(record.entry.written_100ns, reader.le<std::uint64_t>());
  RS_TRY(auto path, read_counted(reader));
  RS_TRY_CTX(record.path, kWhat, profile::KeyPath::parse(as_text(path)));
  RS_TRY(auto class_name, read_counted(reader));
  RS_TRY(auto security, read_counted(reader));
  if (class_name.size() > profile::kMaxClassBytes || security.size() > profile::kMaxKeySecurityBytes)
    return fail(ErrorCode::corrupt, "registry key: impossible class or security descriptor");
  record.entry.class_name = to_bytes(class_name);
  record.entry.security = to_bytes(security);
  RS_CHECK(expect_end(reader, kWhat));
  return record;
}

Bytes encode_record(const ValueRecord& record) {
  ByteWriter out;
  out.le(kFormat);
  out.le(record.type);
  out.le(record.size_bytes);
  write_counted(out, as_bytes(record.name));
  write_content(out, record.content);
  return out.take();
}

Result<ValueRecord> parse_value_record(ByteView bytes) {
  constexpr const char* kWhat = "registry value";
  ByteReader reader(bytes);
  ValueRecord record;
  RS_CHECK(read_format(reader, kWhat));
  RS_TRY(record.type, reader.le<std::uint32_t>());
  RS_TRY(record.size_bytes, reader.le<std::uint64_t>());
  RS_TRY(auto name, read_counted(reader));
  record.name = std::string(as_text(name));
  RS_CHECK_CTX(kWhat, profile::check_value_name(record.name));
  RS_TRY(record.content, parse_content(reader, record.size_bytes));
  const bool is_inline = std::holds_alternative<Bytes>(record.content.where);
  if (record.size_bytes > profile::kMaxValueBytes ||
      is_inline != (record.size_bytes <= profile::kMaxInlineValueBytes))
    return fail(ErrorCode::corrupt,
                "registry value: " + std::to_string(record.size_bytes) + " bytes stored in a wrong form");
  RS_CHECK(expect_end(reader, kWhat));
  return record;
}

}  // namespace roamstead::repository
