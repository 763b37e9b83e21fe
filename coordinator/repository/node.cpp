#include "coordinator/repository/node.h"

#include "common/profile/path.h"

namespace roamstead::repository {
namespace {

constexpr std::uint8_t kNodeFormat = 1;
enum class Form : std::uint8_t { inline_bytes = 0, pieces = 1, list = 2 };
constexpr std::size_t kPieceBytes = 8 + 32;

template <class Length>
void write_counted(ByteWriter& out, ByteView bytes) {
  out.le(static_cast<Length>(bytes.size()));
  out.bytes(bytes);
}

Result<std::string> read_text(ByteReader& reader) {
  RS_TRY(auto length, reader.le<std::uint32_t>());
  RS_TRY(auto bytes, reader.take(length));
  return std::string(as_text(bytes));
}

Result<void> read_streams(ByteReader& reader, Node& node) {
  RS_TRY(auto count, reader.le<std::uint32_t>());
  for (std::uint32_t i = 0; i < count; ++i) {
    profile::Stream stream;
    RS_TRY(stream.name, read_text(reader));
    RS_CHECK_CTX("stream in a node", profile::check_name(stream.name));
    RS_TRY(stream.size_bytes, reader.le<std::uint64_t>());
    if (stream.size_bytes > kMaxStreamBytes)
      return fail(ErrorCode::corrupt, "node: a stream of impossible size");
    RS_TRY(auto content, parse_content(reader, stream.size_bytes));
    node.entry.streams.push_back(std::move(stream));
    node.streams.push_back(std::move(content));
  }
  return {};
}

}  // namespace

const Content* Node::find_stream(const std::string& name, std::uint64_t& size_bytes) const {
  if (name.empty()) {
    size_bytes = entry.size_bytes;
    return entry.kind == profile::EntryKind::file ? &unnamed : nullptr;
  }
  for (std::size_t i = 0; i < entry.streams.size(); ++i)
    if (entry.streams[i].name == name) {
      size_bytes = entry.streams[i].size_bytes;
      return &streams[i];
    }
  return nullptr;
}

Bytes encode_piece(const Piece& piece) {
  ByteWriter out;
  out.le(piece.length);
  out.bytes(piece.id.bytes);
  return out.take();
}

Result<Piece> parse_piece(ByteView bytes) {
  if (bytes.size() != kPieceBytes)
    return fail(ErrorCode::corrupt, "a piece of " + std::to_string(bytes.size()) + " bytes, " +
                                        std::to_string(kPieceBytes) + " expected");
  Piece piece{load_le<std::uint64_t>(bytes), ObjectId::from(bytes.subspan(8))};
  if (piece.length == 0 || piece.length > kMaxStreamBytes ||
      (!piece.id.is_zero() && piece.length > kMaxObjectBytes))
    return fail(ErrorCode::corrupt, "a piece of impossible length " + std::to_string(piece.length));
  return piece;
}

void write_content(ByteWriter& out, const Content& content) {
  if (const auto* bytes = std::get_if<Bytes>(&content.where)) {
    out.le(static_cast<std::uint8_t>(Form::inline_bytes));
    write_counted<std::uint16_t>(out, *bytes);
  } else if (const auto* pieces = std::get_if<std::vector<Piece>>(&content.where)) {
    out.le(static_cast<std::uint8_t>(Form::pieces));
    out.le(static_cast<std::uint16_t>(pieces->size()));
    for (const auto& piece : *pieces) out.bytes(encode_piece(piece));
  } else {
    out.le(static_cast<std::uint8_t>(Form::list));
    out.bytes(std::get<ObjectId>(content.where).bytes);
  }
}

Result<Content> parse_content(ByteReader& reader, std::uint64_t size_bytes) {
  auto at = reader.offset();
  auto refuse = [&](const std::string& why) {
    return fail(ErrorCode::corrupt, "content: " + why + " at offset " + std::to_string(at));
  };
  RS_TRY(auto form, reader.le<std::uint8_t>());
  if (form == static_cast<std::uint8_t>(Form::inline_bytes)) {
    RS_TRY(auto length, reader.le<std::uint16_t>());
    RS_TRY(auto bytes, reader.take(length));
    if (length != size_bytes)
      return refuse("inline content of " + std::to_string(length) + " bytes for a stream of " +
                    std::to_string(size_bytes));
    return Content{to_bytes(bytes)};
  }
  if (form == static_cast<std::uint8_t>(Form::pieces)) {
    RS_TRY(auto count, reader.le<std::uint16_t>());
    if (count > kMaxListedChunks) return refuse("too many pieces");
    std::vector<Piece> pieces;
    std::uint64_t total = 0;
    for (unsigned i = 0; i < count; ++i) {
      RS_TRY(auto bytes, reader.take(kPieceBytes));
      RS_TRY(auto piece, parse_piece(bytes));
      total += piece.length;  // each is at most 2^48
      pieces.push_back(piece);
    }
    if (total != size_bytes)
      return refuse("pieces of " + std::to_string(total) + " bytes for a stream of " +
                    std::to_string(size_bytes));
    return Content{std::move(pieces)};
  }
  if (form != static_cast<std::uint8_t>(Form::list)) return refuse("unknown form of content");
  RS_TRY(auto id, reader.take(32));
  return Content{ObjectId::from(id)};
}

std::string offset_key(std::uint64_t offset) {
  std::string key(8, '\0');
  auto swapped = byte_swap(offset);
  std::memcpy(key.data(), &swapped, 8);
  return key;
}

std::uint64_t key_offset(std::string_view key) { return load_be<std::uint64_t>(as_bytes(key)); }

Bytes encode_node(const Node& node) {
  const auto& entry = node.entry;
  ByteWriter out;
  out.le(kNodeFormat);
  out.le(static_cast<std::uint8_t>(entry.kind));
  out.le(entry.metadata.attributes);
  out.le(entry.metadata.created_100ns);
  out.le(entry.metadata.written_100ns);
  out.le(entry.size_bytes);
  out.le(entry.link_group);
  out.le(entry.reparse_tag);
  write_counted<std::uint32_t>(out, entry.metadata.security);
  write_counted<std::uint32_t>(out, as_bytes(entry.link_target));
  if (has_children(entry.kind)) out.bytes(node.children.bytes);
  if (entry.kind == profile::EntryKind::file) write_content(out, node.unnamed);
  out.le(static_cast<std::uint32_t>(entry.streams.size()));
  for (std::size_t i = 0; i < entry.streams.size(); ++i) {
    write_counted<std::uint32_t>(out, as_bytes(entry.streams[i].name));
    out.le(entry.streams[i].size_bytes);
    write_content(out, node.streams[i]);
  }
  return out.take();
}

Result<Node> parse_node(ByteView bytes) {
  ByteReader reader(bytes);
  Node node;
  auto& entry = node.entry;
  RS_TRY(auto format, reader.le<std::uint8_t>());
  if (format != kNodeFormat)
    return fail(ErrorCode::corrupt, "node: unknown format " + std::to_string(format));
  RS_TRY(auto kind, reader.le<std::uint8_t>());
  if (kind > static_cast<std::uint8_t>(profile::kLastEntryKind))
    return fail(ErrorCode::corrupt, "node: unknown kind " + std::to_string(kind));
  entry.kind = static_cast<profile::EntryKind>(kind);
  RS_TRY(entry.metadata.attributes, reader.le<std::uint32_t>());
  RS_TRY(entry.metadata.created_100ns, reader.le<std::uint64_t>());
  RS_TRY(entry.metadata.written_100ns, reader.le<std::uint64_t>());
  RS_TRY(entry.size_bytes, reader.le<std::uint64_t>());
  RS_TRY(entry.link_group, reader.le<std::uint64_t>());
  RS_TRY(entry.reparse_tag, reader.le<std::uint32_t>());
  if (entry.size_bytes > kMaxStreamBytes || (has_children(entry.kind) && entry.size_bytes != 0))
    return fail(ErrorCode::corrupt, "node: impossible size " + std::to_string(entry.size_bytes));
  RS_TRY(auto security, read_text(reader));
  entry.metadata.security = to_bytes(security);
  RS_TRY(entry.link_target, read_text(reader));
  if (has_children(entry.kind)) {
    RS_TRY(auto root, reader.take(32));
    node.children = ObjectId::from(root);
  }
  if (entry.kind == profile::EntryKind::file) {
    RS_TRY(node.unnamed, parse_content(reader, entry.size_bytes));
  }
  RS_CHECK(read_streams(reader, node));
  if (reader.remaining() != 0)
    return fail(ErrorCode::corrupt, "node: bytes too many at offset " + std::to_string(reader.offset()));
  return node;
}

}  // namespace roamstead::repository
