// A node: what a directory stores of one child. The entry that desktops see, and where its content lies.
#pragma once

#include <optional>
#include <variant>

#include "common/profile/entry.h"
#include "coordinator/repository/object.h"

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
  ObjectId children;             // directories: root page, zero when empty

  // Content and size of a stream, "" being the unnamed one; null when there is none of that name.
  const Content* find_stream(const std::string& name, std::uint64_t& size_bytes) const;
  bool operator==(const Node&) const = default;
};

Bytes encode_node(const Node& node);
Result<Node> parse_node(ByteView bytes);

// Values of a chunk list: the piece under its offset.
Bytes encode_piece(const Piece& piece);
Result<Piece> parse_piece(ByteView bytes);
std::string offset_key(std::uint64_t offset);
std::uint64_t key_offset(std::string_view key);  // of exactly eight bytes

}  // namespace roamstead::repository
