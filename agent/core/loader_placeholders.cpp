// The loader's half that deals with placeholders: files whose bytes Windows asks for and writes itself.
#include <algorithm>

#include "agent/core/loader_child.h"
#include "agent/core/working_set.h"
#include "common/base/log.h"

namespace roamstead::agent {

using extract::kTagBlockBytes;
using profile::EntryKind;

namespace {

FileNumber file_number(const extract::ItemIdentity& identity) {
  return identity.record | FileNumber{identity.sequence} << 48;
}

// Tags of consecutive blocks go together.
Result<void> append_tags(extract::ProvenanceJournal& journal, extract::ItemId id,
                         const std::map<std::uint64_t, extract::BlockTag>& tags) {
  std::vector<extract::BlockTag> run;
  for (auto at = tags.begin(); at != tags.end();) {
    const auto first = at->first;
    run.clear();
    for (; at != tags.end() && at->first == first + run.size(); ++at) run.push_back(at->second);
    RS_CHECK(journal.append_loaded(id, "", first, run));
  }
  return {};
}

}  // namespace

bool Loader::becomes_placeholder(const Child& child) const {
  const auto* placeholders = placeholders_.load();
  return placeholders != nullptr && child.entry->entry.size_bytes != 0 && !child.item->recovered &&
         placeholders->covers(child.item->base_path);
}

// Programs do not see the directory yet: Windows holds whoever looks into it, and it is not in the journal as
// populated.
Result<void> Loader::convert_children(const std::vector<Child>& children) {
  auto* placeholders = placeholders_.load();
  if (placeholders == nullptr) return {};
  for (const auto& child : children) {
    const auto kind = child.entry->entry.kind;
    const bool directory = kind == EntryKind::directory && !child.item->populated;
    if (!placeholders->covers(child.item->base_path)) continue;
    if (!directory && (kind != EntryKind::file || !child.item->placeholder)) continue;
    auto converted = placeholders->convert(file_number(child.identity), directory);
    if (!converted && converted.error().code != ErrorCode::not_found)
      return fail(
          std::move(converted).error().with("the placeholder '" + child.item->base_path.text() + "'"));
  }
  return {};
}

Result<bool> Loader::mark_placeholder(VolumeHandle& handle) {
  auto item = find(handle);
  if (!item) return false;
  if (item->directory) return !is_populated(*item);
  const bool is_file = journal_.inspect([&](const extract::Provenance& provenance) {
    const auto state = provenance.find(item->id);
    return state != nullptr && state->entry.kind == EntryKind::file;
  });
  if (!is_file) return false;
  {
    std::lock_guard lock(item->mutex);
    if (item->placeholder) return true;
    const auto& state = item->streams[""];
    if (state.fully_loaded()) return false;
    if (!item->recovered && state.loaded.empty() && state.in_flight.empty()) {
      RS_CHECK(journal_.append_dehydrated(item->id));
      item->placeholder = item->converting = true;
      return true;
    }
  }
  // Some of it is here, or may be without a tag.
  RS_TRY(const auto size, handle.size());
  RS_CHECK(load(handle, {0, size}, Priority::background));
  return false;
}

bool Loader::has_placeholders() const {
  return journal_.inspect([](const extract::Provenance& provenance) {
    // Ends at the first.
    return !provenance.for_each([](const extract::ItemState& item) -> Result<void> {
      if (item.placeholder && !item.withdrawn) return fail(ErrorCode::exists, "");
      return {};
    });
  });
}

void Loader::converted(std::uint64_t record) {
  const auto item = items_.find(record);
  if (!item) return;
  std::lock_guard lock(item->mutex);
  item->converting = false;
}

std::optional<profile::ProfilePath> Loader::base_path(VolumeHandle& handle) {
  const auto item = find(handle);
  if (!item) return std::nullopt;
  return item->base_path;
}

Result<void> Loader::give(VolumeHandle& file, ByteRange range, const Give& give) {
  const auto item = find(file);
  if (!item) return fail(ErrorCode::corrupt, "what is asked for is no item of this session");
  ByteRange wanted;
  std::optional<Activity::Foreground> foreground;
  {
    std::lock_guard lock(item->mutex);
    auto& state = item->streams[""];
    RS_CHECK(check_size(*item, file, state));
    wanted = intersect(range, {0, state.base_limit});
    if (item->filling == 0) foreground.emplace(activity_);
    if (item->filling == 0 && learner_ != nullptr) learner_->file(item->base_path, state.base_limit);
  }
  if (wanted.empty())
    return fail(ErrorCode::corrupt, "'" + item->base_path.text() + "' at offset " +
                                        std::to_string(range.offset) + ": a program wrote there");
  RS_TRY(auto data, fetch(*item, "", wanted));
  data.resize(static_cast<std::size_t>(range.length));  // behind the base, in its last block: zeros
  Gate::Pass pass(gate_);
  std::lock_guard lock(item->mutex);
  auto& state = item->streams[""];
  wanted = intersect(wanted, {0, state.base_limit});
  std::fill(data.begin() + static_cast<std::ptrdiff_t>(wanted.length), data.end(), std::byte{0});
  RS_CHECK(give(range.offset, data));
  // They are on the volume once it is flushed; only then are the tags recorded.
  for (std::uint64_t at = 0; at < wanted.length; at += kTagBlockBytes) {
    const auto length = std::min<std::uint64_t>(kTagBlockBytes, wanted.length - at);
    state.pending[(wanted.offset + at) / kTagBlockBytes] =
        extract::block_tag(ByteView(data).subspan(at, length));
  }
  state.loaded.add(wanted);
  note_pending(*item);
  return {};
}

// False: it is no placeholder any more, so it is loaded as any file.
Result<bool> Loader::load_placeholder(Item& item, VolumeHandle& stream, ByteRange range, Priority priority) {
  auto* placeholders = placeholders_.load();
  if (placeholders == nullptr) return false;
  const auto note_filling = [&](int change) {
    std::lock_guard lock(item.mutex);
    if (priority == Priority::background) item.filling += static_cast<unsigned>(change);
  };
  note_filling(1);
  auto hydrated = placeholders->hydrate(stream.file_number());
  note_filling(-1);
  if (!hydrated && hydrated.error().code == ErrorCode::unsupported) {
    std::lock_guard lock(item.mutex);
    // What were put there now would go again.
    if (item.converting)
      return fail(ErrorCode::busy, "'" + item.base_path.text() + "' is made a placeholder");
    item.placeholder = false;
    return false;
  }
  RS_CHECK_CTX("loading '" + item.base_path.text() + "'", hydrated);
  const auto is_there = [&] {
    std::lock_guard lock(item.mutex);
    auto& state = item.streams[""];
    return state.loaded.missing(state.base_blocks(range)).empty();
  };
  if (is_there()) return true;
  RS_CHECK(note_closed(stream));  // a program wrote it anew
  if (is_there()) return true;
  return fail(ErrorCode::unavailable,
              "loading '" + item.base_path.text() + "': Windows did not ask for all of it; try again");
}

Result<bool> Loader::release(VolumeHandle& file) {
  const auto item = find(file);
  if (!item || item->directory) return false;
  {
    std::lock_guard lock(item->mutex);
    if (!item->released.empty()) return true;  // asked by Windows, of what we began
  }
  RS_CHECK(flush_tags());
  std::uint64_t entry_bytes = 0;
  std::map<std::uint64_t, extract::BlockTag> tags;
  journal_.inspect([&](const extract::Provenance& provenance) {
    const auto state = provenance.find(item->id);
    if (state == nullptr || !state->placeholder) return;
    entry_bytes = state->entry.size_bytes;
    const auto& known = state->streams.at("").tags;
    tags.insert(known.begin(), known.end());
  });
  RS_TRY(const auto size, file.size());
  if (size == 0 || size != entry_bytes || tags.size() != (size + kTagBlockBytes - 1) / kTagBlockBytes)
    return false;
  Bytes block(kTagBlockBytes);
  for (const auto& [number, tag] : tags) {
    RS_TRY(const auto count, file.read(number * kTagBlockBytes, block));
    if (count == 0 || extract::block_tag(ByteView(block).first(count)) != tag) return false;
  }
  Gate::Pass pass(gate_);
  std::lock_guard lock(item->mutex);
  auto& state = item->streams[""];
  if (!item->released.empty()) return true;
  if (!item->placeholder || state.base_limit != size || !state.fully_loaded() || !state.pending.empty() ||
      !state.in_flight.empty())
    return false;
  RS_CHECK(journal_.append_dehydrated(item->id));
  RS_CHECK(journal_.flush());
  state.loaded = {};
  item->released = std::move(tags);
  return true;
}

Result<void> Loader::released(VolumeHandle& file, bool gone) {
  const auto item = find(file);
  if (!item) return {};
  Gate::Pass pass(gate_);
  std::lock_guard lock(item->mutex);
  const auto tags = std::exchange(item->released, {});
  if (gone || tags.empty()) return {};
  auto& state = item->streams[""];
  RS_CHECK(append_tags(journal_, item->id, tags));
  state.loaded.add({0, state.base_limit});
  return journal_.flush();
}

Result<void> Loader::note_closed(VolumeHandle& file) {
  const auto item = find(file);
  auto* placeholders = placeholders_.load();
  if (!item || item->directory || placeholders == nullptr) return {};
  Gate::Pass pass(gate_);
  std::lock_guard lock(item->mutex);
  auto& state = item->streams[""];
  if (!item->placeholder || !item->released.empty() || !state.in_flight.empty()) return {};
  RS_TRY(const auto size, file.size());
  auto limit = std::min(size, state.base_limit);
  if (limit != 0 && !state.loaded.contains({0, limit})) {
    RS_TRY(const auto shown, placeholders->state(file.file_number()));
    // Zeros of what is not all there are the base's.
    if (shown.whole) limit = std::min(limit, state.loaded.missing({0, limit}).front().offset);
  }
  if (limit >= state.base_limit) return {};
  // The block that is cut through is the program's: what it has of the base has no tag that would say so.
  limit = limit / kTagBlockBytes * kTagBlockBytes;
  item->written = true;
  RS_CHECK(file.sync());
  RS_CHECK(journal_.append_base_limit(item->id, "", limit));
  RS_CHECK(journal_.flush());
  state.cut_base(limit);
  return {};
}

}  // namespace roamstead::agent
