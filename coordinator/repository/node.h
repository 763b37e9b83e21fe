// A node: what a directory stores of one child. The entry that desktops see, and where its content lies.
#pragma once

#include <optional>
#include <variant>

#include "common/profile/entry.h"
#include "coordinator/repository/page.h"

namespace roamstead::repository {

inline constexpr std::size_t kMaxInlineBytes = 1024;
inline constexpr std::size_t kMaxListedChunks = 16;  // more make a chunk list of their own
// NTFS holds no larger file than 256 TiB.
inline constexpr std::uint64_t kMaxStreamBytes = std::uint64_t{1} << 48;

// A piece of a stream: a chunk, or zeros when the id is zero (then of any length).
struct Piece {
  std::uint64_t length = 0;
  ObjectId id;
  bool operator==(const Piece&) const = default;
};

// Where the content of one stream lies. Its size is the entry's business.
struct Content {
  // Inline bytes; few pieces, in order; or the root of a chunk list (page tree by offset).
  std::variant<Bytes, std::vector<Piece>, ObjectId> where;
  bool operator==(const Content&) const = default;
};

struct Node {
  profile::Entry entry;
  Content unnamed;
  std::vector<Content> streams;  // parallel to entry.streams
  // Root page, zero when empty: of a directory's children, or of a hive's keys and values (hive_place.h).
  ObjectId children;

  // Content and size of a stream, "" being the unnamed one; null when there is none of that name.
  const Content* find_stream(const std::string& name, std::uint64_t& size_bytes) const;
  bool operator==(const Node&) const = default;
};

inline bool has_children(profile::EntryKind kind) {
  return kind == profile::EntryKind::directory || kind == profile::EntryKind::registry;
}
// In what order.
inline KeyOrder order_of_children(profile::EntryKind kind) {
  return kind == profile::EntryKind::registry ? KeyOrder::bytes : KeyOrder::names;
}

Bytes encode_node(const Node& node);
Result<Node> parse_node(ByteView bytes);

void write_content(ByteWriter& out, const Content& content);
// Of a stream of that size, which inline bytes and listed pieces must fill.
Result<Content> parse_content(ByteReader& reader, std::uint64_t size_bytes);

// Values of a chunk list: the piece under its offset.
Bytes encode_piece(const Piece& piece);
Result<Piece> parse_piece(ByteView bytes);
std::string offset_key(std::uint64_t offset);
std::uint64_t key_offset(std::string_view key);  // of exactly eight bytes

}  // namespace roamstead::repository
