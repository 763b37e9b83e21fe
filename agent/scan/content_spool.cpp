#include "agent/scan/content_spool.h"

#include <algorithm>
#include <vector>

namespace roamstead::agent {
namespace {

constexpr std::uint64_t kPieceBytes = 1u << 20;

struct Piece {
  std::size_t record = 0, stream = 0;
  ByteRange range;             // of the stream
  std::uint64_t position = 0;  // in the file
};

std::vector<Piece> pieces_of(const profile::Batch& batch, std::uint64_t& end) {
  std::vector<Piece> pieces;
  end = 0;
  for (std::size_t i = 0; i < batch.records.size(); ++i)
    profile::visit_content(batch.records[i], [&](std::size_t stream, ByteRange range) {
      pieces.push_back({i, stream, range, end});
      end += range.length;
    });
  return pieces;
}

class CopiedContent final : public profile::ContentSource {
 public:
  CopiedContent(std::unique_ptr<os::File> file, std::vector<Piece> pieces)
      : file_(std::move(file)), pieces_(std::move(pieces)) {}

  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override {
    const auto key = std::tuple(record, stream, offset);
    auto found =
        std::upper_bound(pieces_.begin(), pieces_.end(), key, [](const auto& wanted, const Piece& p) {
          return wanted < std::tuple(p.record, p.stream, p.range.offset);
        });
    if (found != pieces_.begin()) {
      const auto& piece = *std::prev(found);
      if (piece.record == record && piece.stream == stream && offset <= piece.range.end() &&
          out.size() <= piece.range.end() - offset)
        return file_->read_exactly(piece.position + (offset - piece.range.offset), out);
    }
    return fail(ErrorCode::invalid_argument, "the batch has no content at " + std::to_string(offset) +
                                                 " of stream " + std::to_string(stream) + " of record " +
                                                 std::to_string(record));
  }

 private:
  const std::unique_ptr<os::File> file_;
  const std::vector<Piece> pieces_;  // ascending
};

}  // namespace

Result<void> copy_content(os::FileSystem& files, const std::string& path, const profile::Batch& batch,
                          profile::ContentSource& content) {
  std::uint64_t end = 0;
  const auto pieces = pieces_of(batch, end);
  RS_TRY(const auto file, files.open(path, os::OpenMode::create));
  RS_CHECK(file->truncate(0));
  Bytes bytes;
  for (const auto& piece : pieces)
    for (std::uint64_t at = 0; at < piece.range.length; at += bytes.size()) {
      bytes.resize(static_cast<std::size_t>(std::min(kPieceBytes, piece.range.length - at)));
      RS_CHECK(content.read(piece.record, piece.stream, piece.range.offset + at, bytes));
      RS_CHECK(file->write_at(piece.position + at, bytes));
    }
  return file->sync();
}

Result<std::unique_ptr<profile::ContentSource>> open_copied_content(os::FileSystem& files,
                                                                    const std::string& path,
                                                                    const profile::Batch& batch) {
  std::uint64_t end = 0;
  auto pieces = pieces_of(batch, end);
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  RS_TRY(const auto size, file->size());
  if (size != end)
    return fail(ErrorCode::corrupt,
                path + ": " + std::to_string(size) + " bytes, the batch has " + std::to_string(end));
  return std::unique_ptr<profile::ContentSource>(
      std::make_unique<CopiedContent>(std::move(file), std::move(pieces)));
}

}  // namespace roamstead::agent
