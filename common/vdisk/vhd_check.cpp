#include "common/vdisk/vhd_check.h"

#include <algorithm>

#include "common/vdisk/vhd_layer.h"

namespace roamstead::vdisk::vhd {
namespace {

using Severity = Finding::Severity;

// Makers of disks for which no reader known takes the size from the geometry.
bool goes_by_geometry(const std::string& creator) {
  const std::array<std::string_view, 6> by_size = {"win ", "d2v ",       "CTXS",
                                                   "qem2", {"tap\0", 4}, {"wa\0\0", 4}};
  return std::find(by_size.begin(), by_size.end(), creator) == by_size.end();
}

std::string bytes(std::uint64_t count) { return std::to_string(count) + " bytes"; }

class Check {
 public:
  explicit Check(const os::File& file) : file_(file) {}

  Result<std::vector<Finding>> run() {
    RS_TRY(size_, file_.size());
    auto done = check();
    // What could not even be read to the end is the last finding.
    if (!done && (done.error().code == ErrorCode::corrupt || done.error().code == ErrorCode::unsupported))
      add(Severity::error, 0, done.error().message);
    else if (!done)
      return fail(std::move(done).error());
    return std::move(findings_);
  }

 private:
  void add(Severity severity, std::uint64_t offset, std::string text) {
    if (findings_.size() < kMaxFindings) findings_.push_back({severity, offset, std::move(text)});
  }

  Result<void> check() {
    RS_TRY(found_, read_footer(file_, true));
    check_footers();
    bool fixed = found_.footer.type() == static_cast<std::uint32_t>(DiskType::fixed);
    if (fixed) {
      RS_TRY(virtual_bytes_, virtual_bytes(file_, found_, nullptr));
      check_size();
      if (found_.offset > virtual_bytes_)
        add(Severity::note, virtual_bytes_,
            bytes(found_.offset - virtual_bytes_) + " between the disk's end and the footer");
      return {};
    }
    RS_TRY(header_, read_header(file_, found_.footer, true));
    check_header();
    RS_TRY(virtual_bytes_, virtual_bytes(file_, found_, &header_));
    check_size();
    if (found_.footer.type() == static_cast<std::uint32_t>(DiskType::differencing)) check_locators();
    RS_CHECK(read_table());
    check_places();
    return check_bitmaps();
  }

  void check_footers() {
    const auto& footer = found_.footer;
    bool fixed = footer.type() == static_cast<std::uint32_t>(DiskType::fixed);
    if (!found_.at_end)
      add(Severity::error, size_ < kFooterBytes ? 0 : size_ - kFooterBytes,
          "no footer at the file's end (it was cut off, or overwritten); its copy at the start is good. "
          "Opening the disk for writing puts it right");
    auto where = found_.at_end ? found_.offset : 0;
    if (!footer.checksum_is_right()) add(Severity::error, where + 64, "the footer's checksum is wrong");
    if (found_.short_footer)
      add(Severity::note, where, "a footer of 511 bytes, as Virtual PC before 2004 wrote it");
    if (!fixed && found_.at_end) {
      Footer copy;
      if (!file_.read_exactly(0, copy.bytes) || !copy.has_cookie())
        add(Severity::error, 0, "no copy of the footer at the file's start");
      else if (!copy.checksum_is_right())
        add(Severity::error, 64, "the checksum of the footer's copy is wrong");
      else if (copy != footer)
        add(Severity::warning, 0,
            "the footer's copy differs from the footer at offset " + std::to_string(found_.offset) +
                ", which counts");
    }
    if (footer.saved_state())
      add(Severity::warning, where + 84, "belongs to a machine that was suspended: its disk may be in use");
    if (fixed && footer.data_offset() != ~std::uint64_t{0})
      add(Severity::note, where + 16, "a fixed disk that names a header");
  }

  void check_size() {
    const auto& footer = found_.footer;
    auto where = (found_.at_end ? found_.offset : 0) + 48;
    if (footer.current_bytes() != virtual_bytes_)
      add(Severity::error, where,
          "a disk of " + bytes(footer.current_bytes()) + " has no room in this file; its geometry says " +
              bytes(virtual_bytes_));
    auto by_geometry = footer.geometry().total_bytes();
    constexpr std::uint64_t kMaxByGeometry = std::uint64_t{65535} * 16 * 255 * kSectorBytes;
    if (goes_by_geometry(footer.creator()) && by_geometry != virtual_bytes_ && by_geometry < kMaxByGeometry)
      add(Severity::note, where + 8,
          "its geometry is one of " + bytes(by_geometry) +
              "; Virtual PC, and qemu-img for disks of this maker, show that many of its " +
              bytes(virtual_bytes_));
  }

  void check_header() {
    auto offset = found_.footer.data_offset();
    if (!header_.checksum_is_right()) add(Severity::error, offset + 36, "the header's checksum is wrong");
    if (auto version = load_be<std::uint32_t>(header_.bytes, 24); version >> 16 != 1)
      add(Severity::error, offset + 24,
          "a header of version " + std::to_string(version >> 16) + "; 1 expected");
    if (header_.table_offset() % kSectorBytes != 0)
      add(Severity::error, offset + 16,
          "the block table does not begin with a sector but at offset " +
              std::to_string(header_.table_offset()));
    if (offset % kSectorBytes != 0) add(Severity::error, offset, "the header does not begin with a sector");
  }

  void check_locators() {
    auto header = found_.footer.data_offset();
    locators_ = read_locators(file_, header_);
    bool any = !header_.parent_name().empty();
    for (std::size_t i = 0; i < kLocators; ++i) {
      auto code = header_.locator_code_at(i);
      auto place = header_.locator_place(i);
      if (code == 0) continue;
      auto where = header + 576 + i * 24;
      auto text = std::string("locator ") + std::to_string(i);
      bool readable = std::any_of(locators_.begin(), locators_.end(),
                                  [&](const auto& each) { return each.place == place && each.code == code; });
      if (!readable)
        add(Severity::error, where,
            text + " claims " + bytes(place.length) + " at offset " + std::to_string(place.offset) +
                "; at most 65536 within the file expected");
      any = any || readable;
      if (code == kMergeNotes && readable)
        add(Severity::warning, place.offset,
            "a merge of this layer is under way or was interrupted; opening the disk for writing finishes "
            "it");
    }
    if (!any) add(Severity::error, header + 576, "nothing in it says where its parent is");
    if (header_.parent_id().is_zero()) add(Severity::error, header + 40, "its parent's id is zero");
  }

  Result<void> read_table() {
    auto needed = (virtual_bytes_ + header_.block_bytes() - 1) / header_.block_bytes();
    table_.offset = header_.table_offset();
    table_.block_bytes = header_.block_bytes();
    table_.bitmap_bytes = BlockTable::bitmap_size(table_.block_bytes);
    table_.virtual_bytes = virtual_bytes_;
    table_.sectors.resize(needed);  // within the file: virtual_bytes() made sure
    RS_CHECK(file_.read_exactly(table_.offset, std::as_writable_bytes(std::span(table_.sectors))));
    for (auto& sector : table_.sectors) sector = byte_swap(sector);
    return {};
  }

  struct Claim {
    ByteRange range;
    std::string what;
    std::uint64_t entry;  // where in the file it is claimed
  };

  void check_places() {
    auto header = found_.footer.data_offset();
    std::vector<Claim> claims{{{0, kFooterBytes}, "the footer's copy", 0},
                              {{header, kHeaderBytes}, "the header", 16},
                              {{table_.offset, table_.sectors.size() * 4}, "the block table", header + 16}};
    for (std::size_t i = 0; i < locators_.size(); ++i)
      claims.push_back({locators_[i].place, "a parent locator", header + 576});
    std::uint64_t footer_end = found_.at_end ? kFooterBytes : 0;
    if (footer_end != 0)
      claims.push_back({{found_.offset, size_ - found_.offset}, "the footer", found_.offset});
    std::uint64_t used = 0;
    for (std::uint64_t block = 0; block < table_.sectors.size(); ++block) {
      if (!table_.present(block)) continue;
      auto entry = table_.offset + block * 4;
      ByteRange range{table_.bitmap_offset(block), table_.bitmap_bytes + table_.used_bytes(block)};
      if (range.end() > size_) {
        add(Severity::error, entry,
            "block " + std::to_string(block) + " is said to be at offset " + std::to_string(range.offset) +
                ", beyond the end of the file at " + std::to_string(size_));
        table_.sectors[block] = kNoBlock;
        continue;
      }
      claims.push_back({range, "block " + std::to_string(block), entry});
    }
    std::stable_sort(claims.begin(), claims.end(),
                     [](const auto& a, const auto& b) { return a.range.offset < b.range.offset; });
    std::uint64_t end = 0;
    const Claim* last = nullptr;
    for (const auto& claim : claims) {
      if (claim.range.offset < end)
        add(Severity::error, claim.entry,
            claim.what + " at offset " + std::to_string(claim.range.offset) + " overlaps " + last->what +
                " at offset " + std::to_string(last->range.offset));
      used += claim.range.end() - std::min(claim.range.end(), std::max(end, claim.range.offset));
      if (claim.range.end() > end) {
        end = claim.range.end();
        last = &claim;
      }
    }
    if (size_ > used + table_.block_bytes)
      add(Severity::note, 0, bytes(size_ - used) + " of the file are not in use; disk compact frees them");
  }

  // In a dynamic disk a sector whose bit is clear reads as zeros, or as what is stored there: readers differ.
  Result<void> check_bitmaps() {
    if (found_.footer.type() != static_cast<std::uint32_t>(DiskType::dynamic)) return {};
    Bytes bitmap(table_.bitmap_bytes), sector(kSectorBytes);
    for (std::uint64_t block = 0; block < table_.sectors.size() && findings_.size() < kMaxFindings; ++block) {
      if (!table_.present(block)) continue;
      RS_CHECK(file_.read_exactly(table_.bitmap_offset(block), bitmap));
      for (std::uint64_t i = 0; i < table_.used_bytes(block) / kSectorBytes; ++i) {
        if (bitmap[i / 8] == std::byte{0xff}) {
          i |= 7;
          continue;
        }
        if ((std::to_integer<unsigned>(bitmap[i / 8]) >> (7 - i % 8) & 1) != 0) continue;
        auto place = table_.data_offset(block) + i * kSectorBytes;
        RS_CHECK(file_.read_exactly(place, sector));
        if (all_zero(sector)) continue;
        add(Severity::warning, place,
            "sector " + std::to_string(i) + " of block " + std::to_string(block) +
                " is marked as never written but is not zero; it is read as zeros, by some programs as it "
                "is");
        break;  // one for each block tells enough
      }
    }
    return {};
  }

  const os::File& file_;
  std::uint64_t size_ = 0;
  std::uint64_t virtual_bytes_ = 0;
  FoundFooter found_;
  Header header_;
  std::vector<Locator> locators_;
  BlockTable table_;
  std::vector<Finding> findings_;
};

}  // namespace

Result<std::vector<Finding>> check_file(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  return Check(*file).run();
}

}  // namespace roamstead::vdisk::vhd
