#include "common/registry/cell_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace roamstead::registry {
namespace {

constexpr std::size_t kGrowthBytes = 256 << 10;  // the least a buffer grows by

std::uint32_t whole_cell(std::size_t content_bytes) {
  return static_cast<std::uint32_t>((content_bytes + 4 + 7) / 8 * 8);
}

}  // namespace

Result<CellStore> CellStore::open(Bytes file, std::string name) {
  CellStore store;
  RS_TRY_CTX(const auto base, name, parse_base_block(file));
  if (file.size() < kBaseBlockBytes || base.bins_bytes > file.size() - kBaseBlockBytes ||
      base.bins_bytes % kPageBytes != 0 || base.bins_bytes == 0 || base.bins_bytes > kMaxBinsBytes)
    return fail(ErrorCode::corrupt,
                fmt::format("{}: {} bytes of hive bins in a file of {}", name, base.bins_bytes, file.size()));
  store.file_ = std::move(file);
  store.bins_bytes_ = base.bins_bytes;
  store.dirty_sectors_.resize(store.file_.size() / kSectorBytes / 64 + 1);
  store.starts_ = std::make_unique<CellSet>(base.bins_bytes);
  RS_CHECK(store.read_bins(name));
  return store;
}

Result<void> CellStore::read_bins(const std::string& name) {
  auto bad = [&](std::size_t at, std::string_view what) {
    return fail(ErrorCode::corrupt, fmt::format("{}, offset {}: {}", name, at + kBaseBlockBytes, what));
  };
  const auto all = bins();
  for (std::size_t at = 0; at < all.size();) {
    if (as_text(all.subspan(at, 4)) != "hbin") return bad(at, "'hbin' expected");
    const auto size = load_le<std::uint32_t>(all, at + 8);
    if (load_le<std::uint32_t>(all, at + 4) != at || size == 0 || size % kPageBytes != 0 ||
        size > all.size() - at)
      return bad(at, "hive bin with wrong offset or size");
    Bin bin{static_cast<std::uint32_t>(at), size, 0};
    for (auto cell = at + kBinHeaderBytes; cell < at + size;) {
      const auto raw = load_le<std::uint32_t>(all, cell);
      const auto bytes = cell_bytes(raw);
      if (bytes < 8 || bytes % 8 != 0 || bytes > at + size - cell) return bad(cell, "cell with wrong size");
      if (is_free(raw)) {
        bin.largest_free = std::max(bin.largest_free, bytes);
      } else {
        starts_->add(static_cast<std::uint32_t>(cell));
      }
      cell += bytes;
    }
    bins_list_.push_back(bin);
    at += size;
  }
  return {};
}

std::size_t CellStore::bin_of(std::uint32_t cell) const {
  const auto after = std::upper_bound(bins_list_.begin(), bins_list_.end(), cell,
                                      [](std::uint32_t at, const Bin& bin) { return at < bin.offset; });
  return static_cast<std::size_t>(after - bins_list_.begin()) - 1;
}

void CellStore::mark(std::size_t offset, std::size_t bytes) {
  for (auto sector = offset / kSectorBytes; sector <= (offset + bytes - 1) / kSectorBytes; ++sector)
    dirty_sectors_[sector / 64] |= std::uint64_t{1} << (sector % 64);
}

void CellStore::write_at(std::size_t file_offset, ByteView content) {
  if (content.empty()) return;
  // Sectors that stay as they are stay clean.
  auto* to = file_.data() + file_offset;
  if (std::memcmp(to, content.data(), content.size()) == 0) return;
  std::memcpy(to, content.data(), content.size());
  mark(file_offset, content.size());
}

void CellStore::seal(std::uint32_t sequence) {
  seal_base_block(file_, sequence);
  mark(0, kSectorBytes);
}

RangeSet CellStore::dirty() const {
  RangeSet ranges;
  for (std::size_t sector = 0; sector < dirty_sectors_.size() * 64; ++sector) {
    if (dirty_sectors_[sector / 64] == 0) {
      sector += 63;
    } else if ((dirty_sectors_[sector / 64] >> (sector % 64) & 1) != 0) {
      ranges.add({sector * kSectorBytes, kSectorBytes});
    }
  }
  return ranges;
}

void CellStore::set_size(std::uint32_t cell, std::uint32_t raw) {
  write_at(std::size_t{kBaseBlockBytes} + cell, std::as_bytes(std::span(&raw, 1)));
}

std::size_t CellStore::room(std::uint32_t cell) const { return cell_bytes(raw_size(cell)) - 4; }

void CellStore::tidy(Bin& bin) {
  bin.largest_free = 0;
  const auto end = bin.offset + bin.size;
  for (auto cell = bin.offset + kBinHeaderBytes; cell < end;) {
    const auto raw = raw_size(cell);
    auto bytes = cell_bytes(raw);
    if (is_free(raw)) {
      while (cell + bytes < end && is_free(raw_size(cell + bytes))) bytes += raw_size(cell + bytes);
      if (bytes != raw) set_size(cell, bytes);
      bin.largest_free = std::max(bin.largest_free, bytes);
    }
    cell += bytes;
  }
}

std::uint32_t CellStore::take_from(Bin& bin, std::uint32_t bytes) {
  tidy(bin);
  auto cell = bin.offset + kBinHeaderBytes;
  while (!is_free(raw_size(cell)) || raw_size(cell) < bytes) cell += cell_bytes(raw_size(cell));
  const auto left = raw_size(cell) - bytes;
  if (left != 0) set_size(cell + bytes, left);
  set_size(cell, 0u - bytes);
  starts_->add(cell);
  tidy(bin);
  const Bytes zeros(bytes - 4);
  write(cell, 0, zeros);
  return cell;
}

Result<std::size_t> CellStore::append_bin(std::uint32_t bytes) {
  const auto size = (std::size_t{bytes} + kBinHeaderBytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (bins_bytes_ + size > kMaxBinsBytes) return fail(ErrorCode::full, "the hive would be larger than 2 GiB");
  const auto at = std::size_t{kBaseBlockBytes} + bins_bytes_;
  if (at + size > file_.size()) {
    if (at + size > file_.capacity()) file_.reserve(at + size + std::max(kGrowthBytes, file_.size() / 16));
    file_.resize(at + size);
    dirty_sectors_.resize(file_.size() / kSectorBytes / 64 + 1);
  }
  // Padding that was behind the last bin becomes part of this one.
  std::fill_n(file_.begin() + static_cast<std::ptrdiff_t>(at), size, std::byte{0});
  mark(at, size);
  auto header = MutableByteView(file_).subspan(at, kBinHeaderBytes + 4);
  std::memcpy(header.data(), "hbin", 4);
  store_le<std::uint32_t>(header, 4, bins_bytes_);
  store_le<std::uint32_t>(header, 8, static_cast<std::uint32_t>(size));
  const auto free_bytes = static_cast<std::uint32_t>(size) - kBinHeaderBytes;
  store_le<std::uint32_t>(header, kBinHeaderBytes, free_bytes);
  bins_list_.push_back({bins_bytes_, static_cast<std::uint32_t>(size), free_bytes});
  bins_bytes_ += static_cast<std::uint32_t>(size);
  starts_->grow(bins_bytes_);
  write_at(40, std::as_bytes(std::span(&bins_bytes_, 1)));
  return bins_list_.size() - 1;
}

Result<std::uint32_t> CellStore::allocate(std::size_t bytes, std::uint32_t near) {
  if (bytes > kMaxBinsBytes / 2)
    return fail(ErrorCode::full, fmt::format("a cell of {} bytes is too large", bytes));
  const auto wanted = whole_cell(bytes);
  const auto count = bins_list_.size();
  const auto start = near == kNoCell ? 0 : bin_of(near);
  for (std::size_t i = 0; i < count; ++i) {
    auto& bin = bins_list_[start + i < count ? start + i : start + i - count];
    if (bin.largest_free >= wanted) return take_from(bin, wanted);
  }
  RS_TRY(const auto added, append_bin(wanted));
  return take_from(bins_list_[added], wanted);
}

void CellStore::release(std::uint32_t cell) {
  if (!starts_->contains(cell)) return;
  starts_->remove(cell);
  set_size(cell, cell_bytes(raw_size(cell)));
  tidy(bins_list_[bin_of(cell)]);
}

void CellStore::shrink(std::uint32_t cell, std::size_t bytes) {
  const auto wanted = whole_cell(bytes);
  const auto has = cell_bytes(raw_size(cell));
  if (has <= wanted) return;
  set_size(cell + wanted, has - wanted);
  set_size(cell, 0u - wanted);
  tidy(bins_list_[bin_of(cell)]);
}

}  // namespace roamstead::registry
