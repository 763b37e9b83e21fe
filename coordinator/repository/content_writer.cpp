#include <algorithm>

#include "coordinator/repository/chunker.h"
#include "coordinator/repository/content.h"

namespace roamstead::repository {
namespace {

// The stream as it is to be: written bytes, base bytes, zeros.
class NewStream {
 public:
  NewStream(ProfileObjects& objects, const ContentChange& change) : objects_(objects), change_(change) {}

  Result<void> read(std::uint64_t offset, MutableByteView out) const {
    while (!out.empty()) {
      auto write = next_write(offset);
      std::uint64_t part = out.size();
      if (write != change_.writes.end() && write->offset <= offset) {
        part = std::min(part, write->end() - offset);
        RS_CHECK(change_.read_written(offset, out.first(part)));
      } else {
        if (write != change_.writes.end()) part = std::min(part, write->offset - offset);
        if (change_.base != nullptr && offset < change_.base_bytes) {
          part = std::min(part, change_.base_bytes - offset);
          RS_CHECK(read_content(objects_, *change_.base, change_.base_bytes, offset, out.first(part)));
        } else {
          std::fill_n(out.begin(), part, std::byte{0});
        }
      }
      out = out.subspan(part);
      offset += part;
    }
    return {};
  }

  // How many bytes from `offset` on are certainly zero, being neither written nor the base's.
  std::uint64_t hole_bytes(std::uint64_t offset) const {
    if (change_.base != nullptr && offset < change_.base_bytes) return 0;
    auto write = next_write(offset);
    if (write == change_.writes.end()) return change_.size_bytes - offset;
    return write->offset <= offset ? 0 : write->offset - offset;
  }

 private:
  std::vector<ByteRange>::const_iterator next_write(std::uint64_t offset) const {
    return std::partition_point(change_.writes.begin(), change_.writes.end(),
                                [&](const ByteRange& write) { return write.end() <= offset; });
  }

  ProfileObjects& objects_;
  const ContentChange& change_;
};

// Cuts the new stream into chunks from a given place on. Keeps what it has read ahead of the last cut.
class Rechunker {
 public:
  Rechunker(ProfileObjects& objects, const NewStream& stream, std::uint64_t size_bytes)
      : objects_(objects), stream_(stream), size_bytes_(size_bytes) {}

  // `dirty_end`: up to there everything will be needed, so it may be read ahead.
  Result<Piece> next(std::uint64_t offset, std::uint64_t dirty_end) {
    if (auto hole = stream_.hole_bytes(offset); hole >= kMaxChunkBytes) {
      // Many chunks of zeros at once. Whole multiples, so that cuts stay where one by one they would be.
      return Piece{offset + hole == size_bytes_ ? hole : hole / kMaxChunkBytes * kMaxChunkBytes, ObjectId{}};
    }
    RS_CHECK(fill(offset, dirty_end));
    auto window = ByteView(buffer_).subspan(offset - start_);
    auto length = first_chunk_bytes(window.first(std::min<std::size_t>(window.size(), kMaxChunkBytes)));
    auto chunk = window.first(length);
    if (all_zero(chunk)) return Piece{length, ObjectId{}};
    RS_TRY(auto id, objects_.put_chunk(chunk));
    return Piece{length, id};
  }

 private:
  static constexpr std::uint64_t kReadAheadBytes = 4 * kMaxChunkBytes;

  Result<void> fill(std::uint64_t offset, std::uint64_t dirty_end) {
    auto wanted = std::min<std::uint64_t>(kMaxChunkBytes, size_bytes_ - offset);
    auto end = start_ + buffer_.size();
    if (offset >= start_ && offset + wanted <= end) return {};
    if (offset >= start_ && offset < end) {
      buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(offset - start_));
    } else {
      buffer_.clear();
    }
    start_ = offset;
    auto target = wanted;
    if (dirty_end > offset) target = std::max(target, std::min(kReadAheadBytes, dirty_end - offset));
    auto have = buffer_.size();
    buffer_.resize(target);
    return stream_.read(offset + have, MutableByteView(buffer_).subspan(have));
  }

  ProfileObjects& objects_;
  const NewStream& stream_;
  std::uint64_t size_bytes_;
  Bytes buffer_;
  std::uint64_t start_ = 0;
};

std::optional<Piece> piece_value(const Bytes& value) {
  auto piece = parse_piece(value);
  return piece ? std::optional<Piece>(*piece) : std::nullopt;
}

// The base's pieces and the edits to them.
class PieceMap {
 public:
  PieceMap(ProfileObjects& objects, const ContentChange& change) : objects_(objects), change_(change) {
    if (change.base != nullptr && !std::holds_alternative<Bytes>(change.base->where)) base_ = change.base;
  }

  bool has_base() const { return base_ != nullptr; }

  // The base piece that holds `offset`, or nothing at and beyond the base's end.
  struct Placed {
    std::uint64_t offset;
    Piece piece;
  };
  Result<std::optional<Placed>> at(std::uint64_t offset) const {
    std::optional<Placed> found;
    if (base_ == nullptr || offset >= change_.base_bytes) return found;
    RS_CHECK(
        visit_pieces(objects_, *base_, offset, [&](std::uint64_t start, const Piece& piece) -> Result<bool> {
          found = Placed{start, piece};
          return false;
        }));
    if (!found || found->offset + found->piece.length <= offset)
      return fail(ErrorCode::corrupt, "the base's pieces end before offset " + std::to_string(offset));
    return found;
  }

  // Replaces the base's pieces from `begin` to `end`; where they begin or end within a run of zeros, the run
  // is split. Everything before `settled` has been replaced already or stays.
  Result<void> replace(std::uint64_t settled, std::uint64_t begin, std::uint64_t end,
                       const std::vector<Piece>& pieces) {
    if (base_ != nullptr && begin < change_.base_bytes) {
      RS_CHECK(
          visit_pieces(objects_, *base_, begin, [&](std::uint64_t start, const Piece& piece) -> Result<bool> {
            if (start >= end) return false;
            auto finish = start + piece.length;
            auto rest = std::max(start, settled);  // an earlier split may have left only the rest of a run
            if (rest < begin)
              edits_[offset_key(rest)] = encode_piece({begin - rest, ObjectId{}});
            else
              edits_.try_emplace(offset_key(rest), std::nullopt);
            if (finish > end && end < change_.size_bytes)
              edits_[offset_key(end)] = encode_piece({finish - end, ObjectId{}});
            return true;
          }));
    }
    auto offset = begin;
    for (const auto& piece : pieces) {
      edits_[offset_key(offset)] = encode_piece(piece);
      offset += piece.length;
    }
    return {};
  }

  Result<Content> finish() {
    const auto* root = base_ == nullptr ? nullptr : std::get_if<ObjectId>(&base_->where);
    if (root == nullptr) {  // few pieces, or none
      auto all = no_edits(KeyOrder::offsets);
      if (base_ != nullptr)
        RS_CHECK(
            visit_pieces(objects_, *base_, 0, [&](std::uint64_t offset, const Piece& piece) -> Result<bool> {
              all[offset_key(offset)] = encode_piece(piece);
              return true;
            }));
      for (auto& [key, value] : edits_) all[key] = value;
      std::erase_if(all, [](const auto& edit) { return !edit.second; });
      edits_ = std::move(all);
      if (edits_.size() <= kMaxListedChunks) return listed(edits_);
    }
    RS_TRY(auto tree,
           PageTree(objects_, KeyOrder::offsets, root == nullptr ? ObjectId{} : *root).apply(edits_));
    if (root != nullptr) {
      RS_TRY(auto few, few_pieces(tree));
      if (few) return listed(*few);
    }
    return Content{tree.root()};
  }

 private:
  static Content listed(const PageEdits& pieces) {
    std::vector<Piece> list;
    for (const auto& [key, value] : pieces)
      if (auto piece = piece_value(*value)) list.push_back(*piece);
    return Content{std::move(list)};
  }

  // All pieces, if they are few enough for a list.
  Result<std::optional<PageEdits>> few_pieces(const PageTree& tree) {
    std::optional<PageEdits> all = no_edits(KeyOrder::offsets);
    RS_CHECK(tree.scan("", [&](std::string_view key, ByteView value) -> Result<bool> {
      all->emplace(std::string(key), to_bytes(value));
      if (all->size() <= kMaxListedChunks) return true;
      all.reset();
      return false;
    }));
    return all;
  }

  ProfileObjects& objects_;
  const ContentChange& change_;
  const Content* base_ = nullptr;
  PageEdits edits_ = no_edits(KeyOrder::offsets);
};

// What must be chunked anew: the writes, and the base's end when the size is another. Ascending, merged.
std::vector<ByteRange> dirty_ranges(const ContentChange& change, bool has_base) {
  if (!has_base) return {{0, change.size_bytes}};
  RangeSet dirty;
  for (auto write : change.writes) dirty.add(write);
  // The last chunk of the base ended because the stream did, not at a cut.
  if (change.size_bytes > change.base_bytes)
    dirty.add({change.base_bytes - 1, change.size_bytes - change.base_bytes + 1});
  if (change.size_bytes < change.base_bytes && change.size_bytes > 0) dirty.add({change.size_bytes - 1, 1});
  return dirty.ranges();
}

// Whether the base has a cut at `offset`; within a run of zeros there is one every kMaxChunkBytes.
bool is_base_cut(const std::optional<PieceMap::Placed>& placed, std::uint64_t offset) {
  if (!placed) return false;
  auto within = offset - placed->offset;
  return within == 0 || (placed->piece.id.is_zero() && within % kMaxChunkBytes == 0);
}

void append(std::vector<Piece>& pieces, const Piece& piece) {
  if (piece.id.is_zero() && !pieces.empty() && pieces.back().id.is_zero())
    pieces.back().length += piece.length;
  else
    pieces.push_back(piece);
}

Result<Content> rechunk(ProfileObjects& objects, const ContentChange& change) {
  NewStream stream(objects, change);
  Rechunker chunker(objects, stream, change.size_bytes);
  PieceMap map(objects, change);
  auto dirty = dirty_ranges(change, map.has_base());
  std::uint64_t done = 0;  // everything before is settled
  for (std::size_t i = 0; i < dirty.size();) {
    if (dirty[i].end() <= done) {
      ++i;
      continue;
    }
    auto begin = std::max(done, dirty[i].offset);
    if (begin > done) {
      RS_TRY(auto placed, map.at(begin));
      if (placed) {
        auto start = placed->offset;
        if (placed->piece.id.is_zero()) start += (begin - start) / kMaxChunkBytes * kMaxChunkBytes;
        begin = std::max(done, start);
      }
    }
    std::vector<Piece> pieces;
    auto at = begin;
    for (;;) {
      RS_TRY(auto piece, chunker.next(at, i < dirty.size() && dirty[i].offset <= at ? dirty[i].end() : at));
      append(pieces, piece);
      at += piece.length;
      if (at >= change.size_bytes) break;
      while (i < dirty.size() && dirty[i].end() <= at) ++i;
      if (i < dirty.size() && dirty[i].offset < at) continue;  // cut within what is dirty
      RS_TRY(auto placed, map.at(at));
      if (is_base_cut(placed, at)) break;
    }
    // At the new end nothing of the base is left, however long it was.
    RS_CHECK(
        map.replace(done, begin, at >= change.size_bytes ? std::max(at, change.base_bytes) : at, pieces));
    done = at;
  }
  return map.finish();
}

}  // namespace

Result<Content> change_content(ProfileObjects& objects, const ContentChange& change) {
  if (change.size_bytes > kMaxStreamBytes)
    return fail(ErrorCode::unsupported, "a stream of " + std::to_string(change.size_bytes) + " bytes");
  if (change.base != nullptr && change.writes.empty() && change.size_bytes == change.base_bytes)
    return *change.base;
  if (change.size_bytes <= kMaxInlineBytes) {
    Bytes bytes(change.size_bytes);
    RS_CHECK(NewStream(objects, change).read(0, bytes));
    return Content{std::move(bytes)};
  }
  return rechunk(objects, change);
}

}  // namespace roamstead::repository
