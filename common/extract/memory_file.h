// A file that lives in memory only, for a cluster map that is not kept.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "common/os/file.h"

namespace roamstead::extract {

// Not thread-safe. In pieces, so that growing never copies.
class MemoryFile final : public os::File {
 public:
  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
    const auto count = offset >= size_ ? 0 : std::min<std::uint64_t>(size_ - offset, out.size());
    for_each_part(offset, count, [&](std::size_t done, MutableByteView part) {
      std::copy(part.begin(), part.end(), out.begin() + static_cast<std::ptrdiff_t>(done));
    });
    return static_cast<std::size_t>(count);
  }
  Result<void> write_at(std::uint64_t offset, ByteView data) override {
    if (offset + data.size() > size_) RS_CHECK(truncate(offset + data.size()));
    for_each_part(offset, data.size(), [&](std::size_t done, MutableByteView part) {
      std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(done), part.size(), part.begin());
    });
    return {};
  }
  Result<std::uint64_t> size() const override { return size_; }
  Result<void> truncate(std::uint64_t size_bytes) override {
    pieces_.resize((size_bytes + kPieceBytes - 1) / kPieceBytes);
    for (auto& piece : pieces_)
      if (piece.empty()) piece.resize(kPieceBytes);
    size_ = size_bytes;
    return {};
  }
  Result<void> sync() override { return {}; }
  Result<void> lock(bool) override { return {}; }
  const std::string& path() const override { return path_; }

 private:
  static constexpr std::size_t kPieceBytes = 256u << 10;

  template <class Visit>
  void for_each_part(std::uint64_t offset, std::uint64_t count, Visit&& visit) const {
    for (std::uint64_t done = 0; done < count;) {
      const auto in_piece = (offset + done) % kPieceBytes;
      const auto part = std::min(count - done, kPieceBytes - in_piece);
      auto& piece = pieces_[(offset + done) / kPieceBytes];
      visit(static_cast<std::size_t>(done), MutableByteView(piece).subspan(in_piece, part));
      done += part;
    }
  }

  mutable std::vector<Bytes> pieces_;
  std::uint64_t size_ = 0;
  std::string path_ = "cluster map in memory";
};

}  // namespace roamstead::extract
