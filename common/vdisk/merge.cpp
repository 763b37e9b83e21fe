// Merging two frozen layers, upper and lower, into one that has the upper's path and id.
//
// Down: the upper's content is copied into the lower's file, which nobody sees because the upper covers it;
// then the lower's file takes the upper's id and is renamed over it. While this is under way the lower's
// locator names the upper (so that nobody takes the lower alone for a state the disk ever had), and the
// upper's locator accepts both ids of the lower. Up: what the lower holds and the upper does not is copied
// into the upper's file, which changes nothing of what the upper shows; then one switch of the upper's
// locator makes the lower's parent its own, and the lower's file is removed.
//
// Every step is durable before the next, and every step can be done again: merging is finished after a crash
// by merging once more (docs/format-vhdx-use.md lists the states).
#include <algorithm>

#include "common/base/log.h"
#include "common/vdisk/chain_disk.h"
#include "common/vdisk/parent_paths.h"

namespace roamstead::vdisk {

Result<ChainDisk::MergePair> ChainDisk::merge_pair(std::size_t index) const {
  std::shared_lock lock(layers_mutex_);
  if (index == 0)
    return fail(ErrorCode::invalid_argument, path_ + ": the top layer is in use and cannot be merged");
  if (index >= chain_.size() - 1)
    return fail(ErrorCode::invalid_argument, path_ + ": layer " + std::to_string(index) +
                                                 " has no layer beneath it to merge with; the disk has " +
                                                 std::to_string(chain_.size()));
  MergePair pair{index, chain_[index], chain_[index + 1]};
  auto lower_path = pair.lower.layer->info().path;
  if (pair.upper.image == nullptr || pair.lower.image == nullptr || !pair.lower.image->parent())
    return fail(ErrorCode::denied,
                lower_path + ": layer " + std::to_string(index + 1) +
                    " of the chain is no differencing layer (a golden image is never written)");
  if (pair.upper.layer->virtual_bytes() != pair.lower.layer->virtual_bytes())
    return fail(ErrorCode::unsupported, lower_path + ": differs in size from the layer above it");
  return pair;
}

Result<void> ChainDisk::refuse_other_children(const MergePair& pair) const {
  std::vector<std::string> directories;
  std::string child_of_upper;
  {
    std::shared_lock lock(layers_mutex_);
    child_of_upper = chain_[pair.index - 1].layer->info().path;
    for (const auto& each : chain_) directories.push_back(os::parent_directory(each.layer->info().path));
  }
  std::sort(directories.begin(), directories.end());
  directories.erase(std::unique(directories.begin(), directories.end()), directories.end());
  auto upper = pair.upper.layer->info();
  auto lower = pair.lower.layer->info();
  auto check = [&](const LayerInfo& parent, const std::string& expected) -> Result<void> {
    for (const auto& directory : directories) {
      RS_TRY(auto children, find_children(files_, directory, parent));
      for (const auto& child : children) {
        RS_TRY(auto itself,
               files_.same_file(child, parent.path));  // by its second linkage, when a merge was begun
        RS_TRY(auto known, files_.same_file(child, expected));
        if (!itself && !known)
          return fail(ErrorCode::conflict,
                      parent.path + ": has another child, " + child + "; it is not merged");
      }
    }
    return {};
  };
  RS_CHECK(check(upper, child_of_upper));
  // After a crash the lower may have the upper's id already: then its children are the upper's, which were
  // checked.
  bool same = !lower.id.is_zero() && lower.id == upper.id;
  return same ? Result<void>{} : check(lower, upper.path);
}

// A lock is exchanged by letting go of the shared one; whoever reads a layer meanwhile makes the merge wait
// for later.
Result<void> ChainDisk::lock_pair(MergePair& pair, bool exclusive) {
  for (auto* each : {&pair.upper, &pair.lower}) {
    each->lock.reset();
    {
      std::unique_lock guard(layers_mutex_);
      for (auto& layer : chain_)
        if (layer.layer == each->layer) layer.lock.reset();
    }
  }
  for (auto* each : {&pair.upper, &pair.lower}) {
    std::unique_lock guard(layers_mutex_);
    auto place = std::find_if(chain_.begin(), chain_.end(),
                              [&](const auto& layer) { return layer.layer == each->layer; });
    if (place == chain_.end()) continue;  // merged away
    RS_TRY(place->lock, lock_file(files_, each->layer->info().path, exclusive));
  }
  return {};
}

Result<void> ChainDisk::merge(std::size_t index) {
  if (access_ != Access::write) return fail(ErrorCode::denied, path_ + ": opened for reading only");
  std::lock_guard structure(structure_mutex_);
  RS_TRY(auto pair, merge_pair(index));
  RS_CHECK(refuse_other_children(pair));
  auto merged = lock_pair(pair, true);
  if (merged) merged = merge_locked(pair);
  pair.upper.image->make_read_only();
  pair.lower.image->make_read_only();
  if (auto shared = lock_pair(pair, false); !shared) log_warning("{}", shared.error().to_string());
  return merged;
}

Result<void> ChainDisk::merge_locked(MergePair& pair) {
  auto upper_info = pair.upper.layer->info();
  auto lower_info = pair.lower.layer->info();
  bool has_ids = !upper_info.id.is_zero() && !lower_info.id.is_zero();
  bool begun = has_ids && pair.lower.image->lineage().merging_child == upper_info.id;
  RS_TRY(auto upper_extents, pair.upper.layer->extents());
  if (begun) return merge_down(pair, upper_extents);
  RS_TRY(auto lower_only, pair.lower.layer->extents());
  lower_only.subtract(upper_extents);
  // Renaming over the upper needs both in one directory and of one format; going on after a crash needs ids.
  // qcow2's header has no room for what that needs to note.
  bool possible = has_ids && upper_info.format == lower_info.format && upper_info.format != Format::qcow2 &&
                  os::parent_directory(upper_info.path) == os::parent_directory(lower_info.path);
  if (possible && upper_extents.total_bytes() <= lower_only.total_bytes())
    return merge_down(pair, upper_extents);
  return merge_up(pair, upper_extents, lower_only);
}

Result<void> ChainDisk::copy(const Layer& from, Layer& to, const RangeSet& ranges) const {
  Bytes buffer(kCopyBytes);
  for (auto range : ranges.ranges()) {
    while (!range.empty()) {
      RS_TRY(auto piece, from.lookup(range.offset, std::min(range.length, kCopyBytes)));
      auto part = MutableByteView(buffer).first(piece.length);
      if (piece.source == Layer::Piece::Source::here)
        RS_CHECK(from.read_file(piece.file_offset, part));
      else
        std::fill(part.begin(), part.end(), std::byte{0});
      RS_CHECK(to.write(range.offset, part));
      range = {range.offset + piece.length, range.length - piece.length};
    }
  }
  return to.flush();
}

// What the chain shows from the lower layer down, in whole units of the upper one's writes: its clusters may
// be larger than what the lower one keeps apart.
Result<void> ChainDisk::copy_up(const MergePair& pair, const RangeSet& upper_extents,
                                const RangeSet& lower_only) const {
  auto& upper = *pair.upper.layer;
  std::uint64_t unit = upper.write_unit();
  RangeSet whole;
  for (auto range : lower_only.ranges()) {
    auto start = range.offset / unit * unit;
    auto end = std::min((range.end() + unit - 1) / unit * unit, upper.virtual_bytes());
    whole.add({start, end - start});
  }
  whole.subtract(upper_extents);
  Chain chain;
  {
    std::shared_lock lock(layers_mutex_);
    chain = chain_;
  }
  Bytes buffer(std::min(std::max(kCopyBytes, unit), whole.total_bytes()));
  for (auto range : whole.ranges())
    while (!range.empty()) {
      auto part = MutableByteView(buffer).first(std::min<std::uint64_t>(range.length, buffer.size()));
      RS_CHECK(read_chain(chain, pair.index + 1, range.offset, part));
      RS_CHECK(upper.write(range.offset, part));
      range = {range.offset + part.size(), range.length - part.size()};
    }
  return upper.flush();
}

Result<void> ChainDisk::merge_down(MergePair& pair, const RangeSet& upper_extents) {
  auto& upper = *pair.upper.image;
  auto& lower = *pair.lower.image;
  auto upper_info = upper.info();
  auto lower_path = lower.info().path;
  for (auto* layer : {&lower, &upper}) {
    RS_CHECK(layer->make_writable(files_, true));
    RS_CHECK(layer->begin_writing());
  }
  if (auto lineage = lower.lineage(); lineage.merging_child != upper_info.id) {
    lineage.merging_child = upper_info.id;
    RS_CHECK(lower.set_lineage(lineage));
  }
  if (auto lineage = upper.lineage(); lineage.parent_id2 != upper_info.id) {
    lineage.parent_id2 = upper_info.id;
    RS_CHECK(upper.set_lineage(lineage));
  }
  if (lower.info().id != upper_info.id) {
    RS_CHECK(copy(upper, lower, upper_extents));
    RS_CHECK(lower.set_id(upper_info.id));
  }
  RS_CHECK(files_.rename(lower_path, upper_info.path));
  {
    std::unique_lock lock(layers_mutex_);
    lower.renamed(upper_info.path);
    chain_.erase(chain_.begin() + static_cast<std::ptrdiff_t>(pair.index));
  }
  RS_CHECK(files_.sync_directory(os::parent_directory(lower_path)));
  return forget_merge(lower, lower.lineage());
}

Result<void> ChainDisk::merge_up(MergePair& pair, const RangeSet& upper_extents, const RangeSet& lower_only) {
  auto& upper = *pair.upper.image;
  auto lower_info = pair.lower.layer->info();
  auto upper_directory = os::parent_directory(upper.info().path);
  RS_CHECK(upper.make_writable(files_, true));
  RS_CHECK(upper.begin_writing());
  RS_CHECK(copy_up(pair, upper_extents, lower_only));
  auto lineage = pair.lower.image->lineage();
  lineage.parent_path = relative_path(upper_directory, lower_info.parent_path);
  lineage.merged_path = relative_path(upper_directory, lower_info.path);
  lineage.merged_id = lower_info.id;
  lineage.merging_child = {};
  RS_CHECK(upper.set_lineage(lineage));
  {
    std::unique_lock lock(layers_mutex_);
    upper.reparented(lower_info.parent_path);
    chain_.erase(chain_.begin() + static_cast<std::ptrdiff_t>(pair.index + 1));
  }
  return forget_merge(upper, lineage);
}

// The last steps: the file merged up goes if it is still there, then the notes about the merge.
Result<void> ChainDisk::forget_merge(ImageLayer& layer, Lineage lineage) {
  if (!lineage.merged_path.empty()) {
    auto path = os::join_path(os::parent_directory(layer.info().path), lineage.merged_path);
    RS_TRY(auto there, files_.exists(path));
    if (there) {
      RS_TRY(auto left_over, inspect(files_, path));
      // A format that does not note the id has noted the path only.
      if (lineage.merged_id.is_zero() || left_over.id == lineage.merged_id) RS_CHECK(files_.remove(path));
    }
    RS_CHECK(files_.sync_directory(os::parent_directory(path)));
  }
  lineage.merged_path.clear();
  lineage.merged_id = {};
  lineage.merging_child = {};
  return layer.set_lineage(lineage);
}

// What a crash left to do for the layer's own lineage.
Result<void> ChainDisk::tidy(std::size_t index) {
  auto& chosen = chain_[index];
  if (index == 0) return forget_merge(*chosen.image, chosen.image->lineage());
  auto path = chosen.layer->info().path;
  chosen.lock.reset();
  auto exclusive = lock_file(files_, path, true);
  Result<void> done;
  if (!exclusive) done = fail(exclusive.error());
  if (done) done = chosen.image->make_writable(files_, true);
  if (done) done = forget_merge(*chosen.image, chosen.image->lineage());
  chosen.image->make_read_only();
  if (exclusive) exclusive->reset();
  RS_TRY(chosen.lock, lock_file(files_, path, false));
  return done;
}

Result<void> ChainDisk::finish_merges() {
  for (std::size_t i = 0; i < chain_.size(); ++i) {
    auto* layer = chain_[i].image;
    if (layer == nullptr) continue;
    auto lineage = layer->lineage();
    auto info = layer->info();
    bool marked = !lineage.merging_child.is_zero();
    Result<void> done;
    if (marked && i >= 2 && lineage.merging_child == chain_[i - 1].layer->info().id) {
      done = merge(i - 1);
      if (done) --i;
    } else if ((marked && lineage.merging_child == info.id) || !lineage.merged_path.empty()) {
      done = tidy(i);
    }
    if (!done && done.error().code != ErrorCode::busy) return done;
    if (!done) log_info("{}: an interrupted merge waits: {}", info.path, done.error().to_string());
  }
  return {};
}

}  // namespace roamstead::vdisk
