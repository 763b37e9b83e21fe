#include <algorithm>

#include "coordinator/repository/content.h"

namespace roamstead::repository {

Result<void> visit_pieces(ProfileObjects& objects, const Content& content, std::uint64_t first_offset,
                          const std::function<Result<bool>(std::uint64_t, const Piece&)>& visit) {
  if (const auto* pieces = std::get_if<std::vector<Piece>>(&content.where)) {
    std::uint64_t offset = 0;
    for (const auto& piece : *pieces) {
      if (offset + piece.length > first_offset) {
        RS_TRY(auto more, visit(offset, piece));
        if (!more) return {};
      }
      offset += piece.length;
    }
    return {};
  }
  const auto* root = std::get_if<ObjectId>(&content.where);
  if (root == nullptr) return {};
  std::optional<std::uint64_t> expected;
  return PageTree(objects, KeyOrder::offsets, *root)
      .scan_from_floor(offset_key(first_offset), [&](std::string_view key, ByteView value) -> Result<bool> {
        RS_TRY(auto piece, parse_piece(value));
        auto offset = key_offset(key);
        if (offset > kMaxStreamBytes || (expected ? *expected != offset : offset > first_offset))
          return fail(ErrorCode::corrupt,
                      "chunk list: a gap at offset " + std::to_string(expected.value_or(first_offset)));
        expected = offset + piece.length;
        return visit(offset, piece);
      });
}

Result<void> read_content(ProfileObjects& objects, const Content& content, std::uint64_t size_bytes,
                          std::uint64_t offset, MutableByteView out) {
  if (offset > size_bytes || out.size() > size_bytes - offset)
    return fail(ErrorCode::invalid_argument, "a read of " + std::to_string(out.size()) + " bytes at " +
                                                 std::to_string(offset) + " of a stream of " +
                                                 std::to_string(size_bytes));
  if (out.empty()) return {};
  if (const auto* bytes = std::get_if<Bytes>(&content.where)) {
    if (bytes->size() != size_bytes)
      return fail(ErrorCode::corrupt, "inline content of another size than its stream");
    std::memcpy(out.data(), bytes->data() + offset, out.size());
    return {};
  }
  auto at = offset;
  auto end = offset + out.size();
  RS_CHECK(
      visit_pieces(objects, content, offset, [&](std::uint64_t start, const Piece& piece) -> Result<bool> {
        auto part = std::min(end, start + piece.length) - at;
        auto target = out.subspan(at - offset, part);
        if (piece.id.is_zero()) {
          std::fill(target.begin(), target.end(), std::byte{0});
        } else {
          RS_TRY(auto chunk, objects.chunk(piece.id));
          if (chunk->size() != piece.length)
            return fail(ErrorCode::corrupt, "chunk " + piece.id.short_text() + " has " +
                                                std::to_string(chunk->size()) + " bytes, " +
                                                std::to_string(piece.length) + " expected");
          std::memcpy(target.data(), chunk->data() + (at - start), part);
        }
        at += part;
        return at < end;
      }));
  if (at < end)
    return fail(ErrorCode::corrupt, "the stream's pieces end at " + std::to_string(at) + ", " +
                                        std::to_string(size_bytes) + " bytes expected");
  return {};
}

}  // namespace roamstead::repository
