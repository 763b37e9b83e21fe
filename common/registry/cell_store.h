// The cells of a hive that is being edited: allocated, freed, written, with a record of which sectors
// changed.
//
// Room is taken from free cells first, near the cell asked for, else from a new hive bin at the end. Only one
// number is kept per bin (its largest free cell): the neighbours of a cell are found by a walk through its
// bin, which is a page or a few. Not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/byte_range.h"
#include "common/registry/hive.h"

namespace roamstead::registry {

class CellStore {
 public:
  // Demands that bins and cells fill the file without gaps, as the kernel does.
  static Result<CellStore> open(Bytes file, std::string name);

  ByteView file() const { return file_; }
  ByteView bins() const { return ByteView(file_).subspan(kBaseBlockBytes, bins_bytes_); }
  Bytes take() && { return std::move(file_); }

  // A cell with room for `bytes` of content, which is zero. `near` is any cell, or kNoCell.
  Result<std::uint32_t> allocate(std::size_t bytes, std::uint32_t near);
  // Nothing happens to a cell that is not in use.
  void release(std::uint32_t cell);
  // Gives back what a cell has beyond `bytes` of content.
  void shrink(std::uint32_t cell, std::size_t bytes);
  // Bytes of content a cell in use has room for.
  std::size_t room(std::uint32_t cell) const;

  const CellSet& starts() const { return *starts_; }  // of cells in use; stays where it is when this is moved

  // Writes into a cell's content, or (write_base) into the base block. The caller has checked that it is
  // inside.
  void write(std::uint32_t cell, std::size_t offset, ByteView content) {
    write_at(std::size_t{kBaseBlockBytes} + cell + 4 + offset, content);
  }
  template <std::unsigned_integral T>
  void write_le(std::uint32_t cell, std::size_t offset, T value) {
    write(cell, offset, std::as_bytes(std::span(&value, 1)));
  }
  void write_at(std::size_t file_offset, ByteView content);
  void seal(std::uint32_t sequence);

  // Of the file, in whole sectors of 512 bytes.
  RangeSet dirty() const;

 private:
  struct Bin {
    std::uint32_t offset;
    std::uint32_t size;
    std::uint32_t largest_free;  // whole cell
  };

  CellStore() = default;
  Result<void> read_bins(const std::string& name);
  std::uint32_t raw_size(std::uint32_t cell) const { return load_le<std::uint32_t>(bins(), cell); }
  static bool is_free(std::uint32_t raw) { return static_cast<std::int32_t>(raw) > 0; }
  static std::uint32_t cell_bytes(std::uint32_t raw) { return is_free(raw) ? raw : 0u - raw; }
  std::size_t bin_of(std::uint32_t cell) const;
  void set_size(std::uint32_t cell, std::uint32_t raw);
  // Joins free neighbours and finds the largest.
  void tidy(Bin& bin);
  std::uint32_t take_from(Bin& bin, std::uint32_t bytes);
  Result<std::size_t> append_bin(std::uint32_t cell_bytes);
  void mark(std::size_t offset, std::size_t bytes);

  Bytes file_;
  std::uint32_t bins_bytes_ = 0;
  std::vector<Bin> bins_list_;
  std::unique_ptr<CellSet> starts_;
  std::vector<std::uint64_t> dirty_sectors_;
};

}  // namespace roamstead::registry
