#include "common/vdisk/vhdx_check.h"

#include <algorithm>

#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk::vhdx {
namespace {

using Severity = Finding::Severity;

std::string bytes(std::uint64_t count) { return std::to_string(count) + " bytes"; }

class Check {
 public:
  explicit Check(const os::File& file) : original_(file), file_(&file) {}

  Result<std::vector<Finding>> run() {
    RS_CHECK(check_all());
    return std::move(findings_);
  }

 private:
  void add(Severity severity, std::uint64_t offset, std::string text) {
    if (findings_.size() + 1 < kMaxFindings) {
      findings_.push_back({severity, offset, std::move(text)});
    } else if (findings_.size() < kMaxFindings) {
      findings_.push_back(
          {Severity::error, offset,
           "more than " + std::to_string(kMaxFindings - 1) + " findings; the rest is left out"});
    }
  }

  // What a reader refuses is a finding ("FILE: at offset N: what"); only a failing disk ends the check.
  Result<bool> note(const Error& error) {
    if (error.code == ErrorCode::io) return fail(error);
    std::string_view text = error.message;
    std::uint64_t offset = 0;
    if (auto prefix = original_.path() + ": "; text.starts_with(prefix)) text.remove_prefix(prefix.size());
    if (constexpr std::string_view kAt = "at offset "; text.starts_with(kAt)) {
      text.remove_prefix(kAt.size());
      while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
        offset = offset * 10 + static_cast<std::uint64_t>(text[0] - '0');
        text.remove_prefix(1);
      }
      if (text.starts_with(": ")) text.remove_prefix(2);
    }
    add(Severity::error, offset, std::string(text));
    return false;
  }
  // True when there is a value to go on with.
  template <typename T>
  Result<bool> take(Result<T> result, T& place) {
    if (!result) return note(result.error());
    place = std::move(*result);
    return true;
  }

  Result<void> check_all() {
    RS_TRY(auto signature, has_signature(original_));
    if (!signature) {
      add(Severity::error, 0, "the signature \"vhdxfile\" expected");
      return {};
    }
    RS_TRY(auto headers, check_headers());
    if (!headers) return {};
    RS_CHECK(check_log());
    RS_TRY(file_bytes_, file_->size());
    RS_TRY(auto regions, check_regions());
    if (!regions) return {};
    RS_TRY(auto metadata, take(read_metadata(*file_, regions_.metadata), metadata_));
    if (!metadata) return {};
    check_locator();
    RS_TRY(auto table, check_table());
    return table ? check_bitmaps() : Result<void>{};
  }

  Result<bool> check_headers() {
    for (std::size_t slot = 0; slot < kHeaderOffsets.size(); ++slot) {
      RS_TRY(auto valid, header_copy_is_valid(original_, slot));
      if (!valid)
        add(Severity::warning, kHeaderOffsets[slot],
            "this copy of the header is not valid; some readers need both");
    }
    return take(read_header(original_), current_);
  }

  Result<void> check_log() {
    const auto& header = current_.header;
    if (header.log_guid.is_zero()) return {};
    auto replayed = open_replayed(original_, header);
    if (!replayed) {
      RS_TRY(auto go_on, note(replayed.error()));
      static_cast<void>(go_on);  // with the file as it lies there
      return {};
    }
    replayed_ = std::move(*replayed);
    file_ = replayed_.get();
    const auto& contents = replayed_->contents();
    if (contents.empty())
      add(Severity::note, header.log_offset, "the log is in use but holds no changes");
    else
      add(Severity::note, header.log_offset,
          "the log holds " + std::to_string(contents.pages.size()) + " pages in " +
              std::to_string(contents.entries) +
              " entries not known to be in place; opening the disk for writing puts them there");
    return {};
  }

  Result<bool> check_regions() {
    std::array<std::optional<Bytes>, 2> copies;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      RS_TRY(copies[i], read_region_copy(*file_, i));
      if (!copies[i])
        add(Severity::warning, kRegionTableOffsets[i],
            "this copy of the region table is not valid; some readers need both");
    }
    if (copies[0] && copies[1] && as_text(*copies[0]) != as_text(*copies[1]))
      add(Severity::error, kRegionTableOffsets[1], "both copies of the region table are valid but differ");
    return take(read_regions(*file_, current_.header), regions_);
  }

  void check_locator() {
    if (!metadata_.has_parent) return;
    const auto& locator = metadata_.locator;
    auto where = regions_.metadata.offset;
    if (!locator.get_guid(kParentLinkage))
      add(Severity::error, where, "the parent locator has no valid parent_linkage");
    if (!locator.get(kRelativePath) && !locator.get(kVolumePath) && !locator.get(kAbsolutePath))
      add(Severity::error, where, "the parent locator has no path");
    if (locator.get(kMergingChild) || locator.get(kMergedPath))
      add(Severity::note, where, "a merge was interrupted; opening the disk for writing finishes it");
  }

  std::uint64_t place_of(std::uint64_t index) const { return regions_.bat.offset + index * 8; }
  std::string name_of(std::uint64_t index) const {
    return table_.is_bitmap(index)
               ? "the sector bitmap of chunk " + std::to_string(index / (table_.chunk_ratio + 1))
               : "block " + std::to_string(index - index / (table_.chunk_ratio + 1));
  }

  // Entries that cannot be right count as absent afterwards.
  Result<bool> check_table() {
    RS_TRY(auto read, take(BlockTable::read_entries(*file_, metadata_, regions_), table_));
    if (!read) return false;
    struct Claim {
      ByteRange range;
      std::string name;
    };
    std::vector<Claim> claims;
    for (auto range : regions_.all) claims.push_back({range, "a region, the log or the headers"});
    for (std::uint64_t i = 0; i < table_.entries.size(); ++i) {
      if (table_.entries[i] == 0) continue;
      ByteRange range;
      if (auto problem = table_.problem(i, file_bytes_, range); !problem.empty()) {
        add(Severity::error, place_of(i), name_of(i) + ": its entry " + problem);
        table_.entries[i] = 0;
      }
      if (!range.empty()) claims.push_back({range, name_of(i)});
    }
    std::sort(claims.begin(), claims.end(),
              [](const auto& a, const auto& b) { return a.range.offset < b.range.offset; });
    std::uint64_t end = 0, used = 0;
    const Claim* last = nullptr;
    for (const auto& claim : claims) {
      if (claim.range.offset < end)
        add(Severity::error, claim.range.offset, claim.name + " overlaps " + last->name);
      used += claim.range.end() - std::min(std::max(end, claim.range.offset), claim.range.end());
      if (claim.range.end() > end) last = &claim;
      end = std::max(end, claim.range.end());
    }
    if (file_bytes_ > end)
      add(Severity::note, end, bytes(file_bytes_ - end) + " at the end of the file that nothing refers to");
    if (end > used) add(Severity::note, 0, bytes(end - used) + " within the file that nothing refers to");
    return true;
  }

  Result<void> check_bitmaps() {
    auto sector = metadata_.logical_sector_bytes;
    Bytes slice(table_.block_bytes / sector / 8);
    for (std::uint64_t block = 0; block < table_.payload_blocks; ++block) {
      auto index = table_.payload_index(block);
      if (BlockTable::state(table_.entries[index]) != BlockTable::partially) continue;
      auto chunk = block / table_.chunk_ratio;
      auto bitmap = table_.entries[table_.bitmap_index(chunk)];
      if (BlockTable::state(bitmap) != BlockTable::fully) {
        add(Severity::error, place_of(index),
            name_of(index) + " is partially present but its sector bitmap is absent");
        continue;
      }
      auto where = BlockTable::offset(bitmap) + block % table_.chunk_ratio * slice.size();
      RS_CHECK(file_->read_exactly(where, slice));
      if (all_zero(slice))
        add(Severity::note, where, name_of(index) + " is partially present with no sector present");
      auto sectors =
          std::min<std::uint64_t>(table_.block_bytes, metadata_.virtual_bytes - block * table_.block_bytes) /
          sector;
      for (auto i = sectors; i < slice.size() * 8; ++i)
        if ((std::to_integer<unsigned>(slice[i / 8]) >> (i % 8) & 1) != 0) {
          add(Severity::warning, where + i / 8, name_of(index) + " has sectors beyond the end of the disk");
          break;
        }
    }
    return {};
  }

  const os::File& original_;
  const os::File* file_;
  std::unique_ptr<ReplayedFile> replayed_;
  std::uint64_t file_bytes_ = 0;
  CurrentHeader current_;
  Regions regions_;
  Metadata metadata_;
  BlockTable table_;
  std::vector<Finding> findings_;
};

}  // namespace

Result<std::vector<Finding>> check_file(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  return Check(*file).run();
}

}  // namespace roamstead::vdisk::vhdx
