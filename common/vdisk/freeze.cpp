// Freezing: what is the top gets a second name, an empty child is made under a temporary name and then
// renamed over the first. Until the rename the disk is the old top, from then on the child; at no moment is
// there none.
#include <algorithm>

#include "common/base/log.h"
#include "common/vdisk/chain_disk.h"

namespace roamstead::vdisk {
namespace {

struct NumberedName {
  std::string stem;
  std::string extension;
};

NumberedName split(const std::string& name) {
  auto dot = name.find_last_of('.');
  if (dot == std::string::npos || dot == 0) return {name, ""};
  return {name.substr(0, dot), name.substr(dot)};
}

// The number in "stem.NNNN.extension"; 0 when it is another name.
unsigned number_in(const NumberedName& top, const std::string& name) {
  auto prefix = top.stem + ".";
  if (name.size() <= prefix.size() + top.extension.size() || !name.starts_with(prefix) ||
      !name.ends_with(top.extension))
    return 0;
  auto digits = name.substr(prefix.size(), name.size() - prefix.size() - top.extension.size());
  if (digits.size() < 4 || digits.size() > 9) return 0;
  unsigned number = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + static_cast<unsigned>(c - '0');
  }
  return number;
}

}  // namespace

// "a.0001.vhdx" for "a.vhdx": one more than the highest there is. A second name of the top itself is what a
// crash left of an earlier freeze: removed.
Result<std::string> ChainDisk::frozen_path() const {
  auto directory = os::parent_directory(path_);
  auto top = split(os::base_name(path_));
  RS_TRY(auto names, files_.list_directory(directory));
  unsigned highest = 0;
  for (const auto& name : names) {
    auto number = number_in(top, name);
    if (number == 0) continue;
    auto other = os::join_path(directory, name);
    RS_TRY(auto left_over, files_.same_file(path_, other));
    if (left_over) {
      RS_CHECK(files_.remove(other));
      continue;
    }
    highest = std::max(highest, number);
  }
  auto digits = std::to_string(highest + 1);
  if (digits.size() < 4) digits.insert(0, 4 - digits.size(), '0');
  return os::join_path(directory, top.stem + "." + digits + top.extension);
}

// `switched` tells whether the path has become the child's, also when an error follows.
Result<void> ChainDisk::put_child_on_top(const ChainLayer& top, const std::string& frozen,
                                         const std::string& temporary, bool& switched) {
  auto directory = os::parent_directory(path_);
  RS_TRY(auto made, top.image->create_child(files_, temporary, os::base_name(frozen)));
  std::shared_ptr<ImageLayer> layer = std::move(made);
  ChainLayer child;
  RS_TRY(child.lock, lock_file(files_, temporary, true));
  layer->renamed(path_);
  layer->reparented(frozen);
  child.image = layer.get();
  child.layer = std::move(layer);
  RS_CHECK(files_.link(path_, frozen));
  RS_CHECK(files_.sync_directory(directory));
  RS_CHECK(files_.rename(temporary, path_));
  switched = true;
  RS_CHECK(files_.sync_directory(directory));
  std::unique_lock lock(layers_mutex_);
  top.image->make_read_only();
  top.image->renamed(frozen);
  chain_.front().lock.reset();
  chain_.insert(chain_.begin(), std::move(child));
  return {};
}

Result<Disk::Frozen> ChainDisk::freeze() {
  std::lock_guard structure(structure_mutex_);
  std::lock_guard guard(write_mutex_);
  RS_TRY(auto top, writable_top());
  if (top.image == nullptr)
    return fail(ErrorCode::unsupported, path_ + ": a raw disk cannot be frozen; convert it to VHDX first");
  {
    std::shared_lock lock(layers_mutex_);
    if (chain_.size() >= kMaxLayers)
      return fail(ErrorCode::unsupported,
                  path_ + ": has " + std::to_string(kMaxLayers) + " layers; merge some first");
  }
  RS_CHECK(top.image->end_writing());
  RS_TRY(auto frozen, frozen_path());
  auto temporary = path_ + ".new";
  RS_TRY(auto left_over, files_.exists(temporary));
  if (left_over) RS_CHECK(files_.remove(temporary));
  bool switched = false;
  auto done = put_child_on_top(top, frozen, temporary, switched);
  if (!done) {
    if (switched) {
      lost_ = true;  // which of the two a crash would show is not known
      return fail(std::move(done).error());
    }
    if (auto linked = files_.same_file(path_, frozen); linked && *linked && !files_.remove(frozen))
      log_warning("{}: left over from a freeze that failed", frozen);
    if (auto there = files_.exists(temporary); there && *there && !files_.remove(temporary))
      log_warning("{}: left over from a freeze that failed", temporary);
    return fail(std::move(done).error());
  }
  top.lock.reset();  // the exclusive lock, now of the frozen file
  auto lock = lock_file(files_, frozen, false);
  if (!lock) log_warning("{}", lock.error().to_string());
  std::unique_lock exclusive(layers_mutex_);
  if (lock) chain_[1].lock = std::move(*lock);
  return Frozen{frozen, chain_[1].layer->info().id, path_};
}

}  // namespace roamstead::vdisk
