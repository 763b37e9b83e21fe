#include "agent/testing/scripted_snapshots.h"

#include <algorithm>

namespace roamstead::agent::testing {

// Content is the locators themselves: all bytes of all records, one after the other.
class ScriptedContent final : public profile::ContentSource {
 public:
  ScriptedContent(ScriptedSnapshots& owner, profile::Batch batch, Bytes bytes)
      : owner_(owner), batch_(std::move(batch)), bytes_(std::move(bytes)) {
    std::lock_guard lock(owner_.mutex_);
    ++owner_.open_;
  }
  ~ScriptedContent() override {
    std::lock_guard lock(owner_.mutex_);
    --owner_.open_;
  }
  Result<void> read(std::size_t record, std::size_t, std::uint64_t offset, MutableByteView out) override {
    std::uint64_t at = offset;
    for (std::size_t i = 0; i < record; ++i) at += std::get<profile::Put>(batch_.records[i]).entry.size_bytes;
    if (at + out.size() > bytes_.size()) return fail(ErrorCode::corrupt, "beyond the content");
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
    return {};
  }
  const profile::Batch& batch() const { return batch_; }
  const Bytes& bytes() const { return bytes_; }

 private:
  ScriptedSnapshots& owner_;
  profile::Batch batch_;
  Bytes bytes_;
};

namespace {
class ScriptedCut final : public Cut {
 public:
  explicit ScriptedCut(std::unique_ptr<ScriptedContent> content) : content_(std::move(content)) {}
  const profile::Batch& batch() const override { return content_->batch(); }
  profile::ContentSource& content() override { return *content_; }
  Bytes locators() const override { return content_->bytes(); }

 private:
  std::unique_ptr<ScriptedContent> content_;
};
}  // namespace

void ScriptedSnapshots::change(const std::string& path, const std::string& content) {
  std::lock_guard lock(mutex_);
  active_.push_back({path, content});
}

void ScriptedSnapshots::take_back(const std::string& path) {
  std::lock_guard lock(mutex_);
  auto is_it = [&](const Change& change) { return change.path == path; };
  std::erase_if(active_, is_it);
  for (auto& [id, changes] : in_layer_) std::erase_if(changes, is_it);
}

void ScriptedSnapshots::forget_past() {
  std::lock_guard lock(mutex_);
  for (auto& [id, changes] : in_layer_) changes.clear();
}

Result<FrozenLayer> ScriptedSnapshots::freeze() {
  std::lock_guard lock(mutex_);
  FrozenLayer frozen{"layer-" + std::to_string(++freezes_), Guid::random()};
  in_layer_[frozen.id] = std::move(active_);
  active_.clear();
  layers_.push_back(frozen.id);
  most_layers_ = std::max(most_layers_, layers_.size());
  return frozen;
}

Result<std::unique_ptr<Cut>> ScriptedSnapshots::cut(const FrozenLayer& frozen, const Guid& below) {
  profile::Batch batch;
  Bytes bytes;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(fail_next_, false)) return fail(ErrorCode::corrupt, "the volume cannot be read");
    belows_.push_back(below);
    auto from = std::find(layers_.begin(), layers_.end(), below);
    if (!below.is_zero() && from == layers_.end())
      return fail(ErrorCode::not_found, "the layer of the last cut is gone");
    from = below.is_zero() ? layers_.begin() : from + 1;
    for (; from != layers_.end(); ++from)
      for (auto& change : in_layer_[*from]) {
        profile::Put put;
        put.path = *profile::ProfilePath::parse(change.path);
        put.entry.size_bytes = change.content.size();
        put.contents.push_back({"", change.content.size(), {{0, change.content.size()}}});
        batch.records.push_back(put);
        bytes.insert(bytes.end(), as_bytes(change.content).begin(), as_bytes(change.content).end());
      }
    batch.snapshot = frozen.id;
  }
  return std::unique_ptr<Cut>(std::make_unique<ScriptedCut>(
      std::make_unique<ScriptedContent>(*this, std::move(batch), std::move(bytes))));
}

Result<std::unique_ptr<profile::ContentSource>> ScriptedSnapshots::open_content(const FrozenLayer& frozen,
                                                                                const profile::Batch& batch,
                                                                                ByteView locators) {
  {
    std::lock_guard lock(mutex_);
    if (std::find(layers_.begin(), layers_.end(), frozen.id) == layers_.end())
      return fail(ErrorCode::stale, "the layer " + frozen.path + " is gone");
  }
  return std::unique_ptr<profile::ContentSource>(
      std::make_unique<ScriptedContent>(*this, batch, to_bytes(locators)));
}

Result<std::size_t> ScriptedSnapshots::frozen_layers() {
  std::lock_guard lock(mutex_);
  return layers_.size();
}

Result<void> ScriptedSnapshots::tidy(const Guid& keep) {
  std::lock_guard lock(mutex_);
  if (open_ != 0) merged_while_open_ = true;
  for (std::size_t lower = 0; lower + 1 < layers_.size();) {
    if (layers_[lower] == keep) {
      ++lower;
      continue;
    }
    auto& into = in_layer_[layers_[lower + 1]];
    auto& from = in_layer_[layers_[lower]];
    into.insert(into.begin(), from.begin(), from.end());
    layers_.erase(layers_.begin() + static_cast<std::ptrdiff_t>(lower));
  }
  return {};
}

std::size_t ScriptedSnapshots::freezes() const {
  std::lock_guard lock(mutex_);
  return freezes_;
}
std::vector<Guid> ScriptedSnapshots::layers() const {
  std::lock_guard lock(mutex_);
  return layers_;
}
std::vector<Guid> ScriptedSnapshots::belows() const {
  std::lock_guard lock(mutex_);
  return belows_;
}
std::size_t ScriptedSnapshots::most_layers() const {
  std::lock_guard lock(mutex_);
  return most_layers_;
}
int ScriptedSnapshots::open_contents() const {
  std::lock_guard lock(mutex_);
  return open_;
}
bool ScriptedSnapshots::merged_while_open() const {
  std::lock_guard lock(mutex_);
  return merged_while_open_;
}
void ScriptedSnapshots::fail_next_cut() {
  std::lock_guard lock(mutex_);
  fail_next_ = true;
}

}  // namespace roamstead::agent::testing
