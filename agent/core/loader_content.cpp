// The loader's half that deals with content: loading ranges, and programs' writes among them.
#include <algorithm>

#include "agent/core/loader.h"
#include "agent/core/patience.h"
#include "agent/core/working_set.h"
#include "common/base/log.h"

namespace roamstead::agent {

using extract::BlockTag;
using extract::kTagBlockBytes;

namespace {

std::uint64_t block_start(std::uint64_t offset) { return offset / kTagBlockBytes * kTagBlockBytes; }

// Zeros over a block whose tag is not recorded would look like a block that was never loaded, were we killed
// now. Of the last block that is the part that the base has, whatever follows it.
bool zeroes_pending(const StreamState& state, std::uint64_t offset, ByteView data) {
  auto end = offset + data.size();
  for (auto it = state.pending.lower_bound(offset / kTagBlockBytes); it != state.pending.end(); ++it) {
    auto block = it->first * kTagBlockBytes;
    if (block >= end) break;
    const auto of_base = intersect({block, kTagBlockBytes}, {0, state.base_limit});
    const auto part = intersect(of_base, {offset, data.size()});
    if (!part.empty() && all_zero(data.subspan(part.offset - offset, part.length))) return true;
  }
  return false;
}

// Whether the block that is cut through is loaded, and its tag not recorded.
bool cuts_pending(const StreamState& state, std::uint64_t size_bytes) {
  return size_bytes < state.base_limit && size_bytes % kTagBlockBytes != 0 &&
         state.pending.count(size_bytes / kTagBlockBytes) != 0;
}

}  // namespace

Result<Bytes> Loader::fetch(const Item& item, const std::string& stream, ByteRange range) {
  if (preview_ && stream.empty())
    if (auto shown = preview_->kept(item.base_path, range)) return std::move(*shown);
  auto data = retry_while_away(options_.patience, [&] {
    return link_.read(session_secret_, item.base_path, stream, range.offset,
                      static_cast<std::size_t>(range.length));
  });
  if (!data) return data;
  if (data->size() != range.length)
    return fail(ErrorCode::protocol, std::to_string(data->size()) + " bytes at offset " +
                                         std::to_string(range.offset) + ", expected " +
                                         std::to_string(range.length));
  ++counters_.fetches;
  counters_.fetched_bytes += data->size();
  return data;
}

// From the first missing byte on, up to what is loaded or on its way, and no further than is worth fetching
// at once.
ByteRange Loader::choose_fetch(const StreamState& state, ByteRange missing, bool sequential) const {
  auto most = std::min<std::uint64_t>(sequential ? options_.sequential_fetch_bytes : options_.fetch_bytes,
                                      wire::kMaxReadBytes);
  auto unit = sequential ? missing.offset : missing.offset / options_.fetch_bytes * options_.fetch_bytes;
  // Reading in the middle of a file fetches around the place, so that small reads backwards cost one fetch
  // too.
  ByteRange window{std::min(unit, missing.offset), most};
  window.length = std::min(window.length, state.base_limit - window.offset);
  RangeSet wanted;
  wanted.add(window);
  wanted.subtract(state.loaded);
  wanted.subtract(state.in_flight);
  for (auto& range : wanted.ranges())
    if (range.end() > missing.offset && range.offset <= missing.offset) return range;
  return {missing.offset, std::min(missing.length, most)};
}

Result<void> Loader::load(VolumeHandle& stream, ByteRange range, Priority priority) {
  auto item = find(stream);
  if (!item) return {};
  auto until = Activity::Clock::now() + options_.patience * 2;
  std::unique_lock lock(item->mutex);
  auto found = item->streams.find(stream.stream());
  if (found == item->streams.end()) return {};
  auto& state = found->second;  // streams are never erased
  RS_CHECK(check_size(*item, stream, state));
  if (learner_ != nullptr && priority != Priority::background && stream.stream().empty())
    learner_->file(item->base_path, state.base_limit);
  if (item->placeholder && stream.stream().empty() && placeholders_.load() != nullptr) {
    if (state.loaded.missing(state.base_blocks(range)).empty()) return {};
    lock.unlock();
    std::optional<Activity::Foreground> waiting;
    if (priority != Priority::background) waiting.emplace(activity_);
    RS_TRY(const bool loaded, load_placeholder(*item, stream, range, priority));
    if (loaded) return {};
    lock.lock();  // no placeholder after all
  }
  std::optional<Activity::Foreground> foreground;
  for (;;) {
    auto missing = state.loaded.missing(state.base_blocks(range));
    if (missing.empty()) return {};
    if (!foreground && priority != Priority::background) foreground.emplace(activity_);
    RangeSet free;
    for (auto& part : missing) free.add(part);
    free.subtract(state.in_flight);
    if (free.empty()) {
      if (item->changed.wait_until(lock, until) == std::cv_status::timeout)
        return fail(ErrorCode::timeout, "waited for content of " + item->base_path.text());
      continue;
    }
    auto first = free.ranges().front();
    bool sequential = priority == Priority::background ||
                      (first.offset != 0 && state.loaded.contains({first.offset - 1, 1}));
    auto wanted = priority == Priority::exact ? first : choose_fetch(state, first, sequential);
    state.in_flight.add(wanted);
    lock.unlock();
    auto data = fetch(*item, stream.stream(), wanted);
    Result<void> stored;
    {
      Gate::Pass pass(gate_);
      lock.lock();
      state.in_flight.subtract(wanted);
      stored = data ? store(*item, stream, wanted, *data) : fail(data.error());
      item->changed.notify_all();
    }
    if (!stored)
      return fail(std::move(stored).error().with("loading '" + item->base_path.text() + "' at offset " +
                                                 std::to_string(wanted.offset)));
  }
}

// A stream that is shorter than the base was shrunk by a program, and the process before this one died before
// it recorded the new base limit: were it to grow again, the base's bytes would come back. item.mutex is
// held.
Result<void> Loader::check_size(Item& item, VolumeHandle& stream, StreamState& state) {
  if (!item.recovered || state.size_checked) return {};
  RS_TRY(auto size, stream.size());
  if (size < state.base_limit) {
    RS_CHECK(stream.sync());
    RS_CHECK(journal_.append_base_limit(item.id, stream.stream(), size));
    RS_CHECK(journal_.flush());
    state.cut_base(size);
  }
  state.size_checked = true;
  return {};
}

// item.mutex is held, and a pass.
Result<void> Loader::store(Item& item, VolumeHandle& stream, ByteRange range, ByteView data) {
  auto& state = item.streams[stream.stream()];
  range = intersect(range, {0, state.base_limit});  // the stream may have been shrunk meanwhile
  if (range.empty()) return {};
  data = data.first(static_cast<std::size_t>(range.length));
  ItemTimes before;
  if (!item.written) {
    RS_TRY(before, stream.times());
  }
  Bytes present;
  if (item.recovered) {  // a block that is not zero was loaded or written by the process before: leave it
                         // alone
    present.resize(data.size());
    RS_TRY(auto count, stream.read(range.offset, present));
    present.resize(count);
  }
  for (std::uint64_t at = 0; at < range.length;) {
    // One write for as many blocks as may be written together. What is left alone gets its tag too: it tells
    // the base's bytes from a program's, and without one zeros written there would pass for not loaded.
    std::map<std::uint64_t, BlockTag> tags;
    std::uint64_t end = at;
    while (end < range.length) {
      auto length = std::min<std::uint64_t>(kTagBlockBytes, range.length - end);
      auto there = end < present.size()
                       ? ByteView(present).subspan(end, std::min<std::uint64_t>(length, present.size() - end))
                       : ByteView();
      tags[(range.offset + end) / kTagBlockBytes] = extract::block_tag(data.subspan(end, length));
      if (!all_zero(there)) break;
      end += length;
    }
    if (end > at) RS_CHECK(stream.write(range.offset + at, data.subspan(at, end - at)));
    for (auto& [block, tag] : tags) state.pending[block] = tag;
    at = end == range.length ? end : end + std::min<std::uint64_t>(kTagBlockBytes, range.length - end);
  }
  if (!item.written) RS_CHECK(stream.set_times(before));
  state.loaded.add(range);
  note_pending(item);
  return {};
}

void Loader::note_pending(Item& item) {
  if (item.tags_waiting) return;
  auto shared = items_.find(item.record);
  if (!shared) return;  // deleted meanwhile: nobody asks for its tags any more
  item.tags_waiting = true;
  std::lock_guard lock(tags_mutex_);
  tags_waiting_.push_back(shared);
}

Result<void> Loader::write(VolumeHandle& stream, std::uint64_t offset, ByteView data) {
  auto item = find(stream);
  if (!item) {
    Gate::Pass pass(gate_);
    RS_CHECK(gate_.check_program());
    return stream.write(offset, data);
  }
  for (bool done = false; !done;) {
    RS_CHECK(load(stream, {offset, data.size()}));
    RS_CHECK(write_loaded(*item, stream, offset, data, done));
  }
  return {};
}

// Sets `done` unless what was loaded is not any more, or tags must be recorded first.
Result<void> Loader::write_loaded(Item& item, VolumeHandle& stream, std::uint64_t offset, ByteView data,
                                  bool& done) {
  bool flush_first = false;
  {
    Gate::Pass pass(gate_);
    RS_CHECK(gate_.check_program());
    std::lock_guard lock(item.mutex);
    if (auto found = item.streams.find(stream.stream()); found != item.streams.end() && !data.empty()) {
      auto& state = found->second;
      if (!state.loaded.missing(state.base_blocks({offset, data.size()})).empty()) return {};
      flush_first = zeroes_pending(state, offset, data);
    }
    if (!flush_first) {
      item.written = true;
      done = true;
      return stream.write(offset, data);
    }
  }
  return flush_tags();
}

Result<void> Loader::truncate(VolumeHandle& stream, std::uint64_t size_bytes) {
  auto item = find(stream);
  if (!item) {
    Gate::Pass pass(gate_);
    RS_CHECK(gate_.check_program());
    return stream.truncate(size_bytes);
  }
  for (;;) {
    // The block that is cut through becomes content of its own.
    if (size_bytes % kTagBlockBytes != 0) RS_CHECK(load(stream, {size_bytes, 1}, Priority::exact));
    bool flush_first = false;
    {
      std::unique_lock lock(item->mutex);
      auto& state = item->streams[stream.stream()];
      RS_CHECK(check_size(*item, stream, state));
      auto until = Activity::Clock::now() + options_.patience * 2;
      while (size_bytes < state.base_limit && !state.in_flight.empty())
        if (item->changed.wait_until(lock, until) == std::cv_status::timeout)
          return fail(ErrorCode::timeout, "waited for content of " + item->base_path.text());
      flush_first = cuts_pending(state, size_bytes);
    }
    // Without its tag, zeros that a program writes there would look like a block that was never loaded.
    if (flush_first) RS_CHECK(flush_tags());
    Gate::Pass pass(gate_);
    RS_CHECK(gate_.check_program());
    std::lock_guard lock(item->mutex);
    auto& state = item->streams[stream.stream()];
    if (size_bytes < state.base_limit) {
      if (!state.in_flight.empty() || cuts_pending(state, size_bytes)) continue;
      auto cut = state.base_blocks({size_bytes, 1});
      if (size_bytes % kTagBlockBytes != 0 && !state.loaded.contains(cut)) continue;
    }
    item->written = true;
    RS_CHECK(stream.truncate(size_bytes));
    if (size_bytes >= state.base_limit) return {};
    RS_CHECK(stream.sync());
    RS_CHECK(journal_.append_base_limit(item->id, stream.stream(), size_bytes));
    RS_CHECK(journal_.flush());
    RS_CHECK(remember_cut(*item, stream.stream(), state, size_bytes));
    state.cut_base(size_bytes);
    return {};
  }
}

// Programs that save a file often write all of it anew, most of it as it was: what the journal knows of the
// base's bytes beyond the limit need not travel. Only what is in memory; losing it costs bytes sent in vain.
Result<void> Loader::remember_cut(Item& item, const std::string& stream, const StreamState& state,
                                  std::uint64_t limit) {
  constexpr std::uint64_t kMostBytes = 1 << 20;
  auto first = block_start(limit + kTagBlockBytes - 1) / kTagBlockBytes;
  const auto end = std::min(state.base_limit, first * kTagBlockBytes + kMostBytes);
  std::vector<extract::BlockTag> tags;  // from `first` on
  const auto append = [&](std::uint64_t next) -> Result<void> {
    if (!tags.empty()) RS_CHECK(journal_.append_loaded(item.id, stream, first, tags));
    tags.clear();
    first = next;
    return {};
  };
  for (auto at = first * kTagBlockBytes; at < end; at += kTagBlockBytes) {
    const auto block = at / kTagBlockBytes;
    const ByteRange range{at, std::min<std::uint64_t>(kTagBlockBytes, state.base_limit - at)};
    if (auto known = state.pending.find(block); known != state.pending.end()) {
      tags.push_back(known->second);
    } else if (auto shown = preview_ && stream.empty() && !state.loaded.contains(range)
                                ? preview_->kept(item.base_path, range)
                                : std::nullopt;
               shown && shown->size() == range.length) {
      tags.push_back(extract::block_tag(*shown));
    } else {
      RS_CHECK(append(block + 1));
    }
  }
  return append(0);
}

Result<void> Loader::forget_stream(std::uint64_t record, const std::string& stream) {
  auto item = items_.find(record);
  if (!item) return {};
  Gate::Pass pass(gate_);
  std::lock_guard lock(item->mutex);
  auto found = item->streams.find(stream);
  if (found == item->streams.end() || found->second.base_limit == 0) return {};
  item->written = true;
  found->second.base_limit = 0;
  found->second.loaded = {};
  found->second.pending.clear();
  RS_CHECK(volume_.sync());
  RS_CHECK(journal_.append_base_limit(item->id, stream, 0));
  return journal_.flush();
}

Result<void> Loader::sync(VolumeHandle& stream) {
  RS_CHECK(stream.sync());
  // What was loaded before and written over must be told apart from what is not loaded, also after a power
  // loss.
  bool waiting = false;
  if (auto item = find(stream)) {
    std::lock_guard lock(item->mutex);
    waiting = item->tags_waiting;
  }
  return waiting ? flush_tags() : Result<void>{};
}

Result<void> Loader::record_loaded(VolumeHandle& stream) {
  auto item = find(stream);
  if (!item) return {};
  bool pending = false;
  {
    std::lock_guard lock(item->mutex);
    item->written = true;  // its times are the program's
    for (auto& [name, state] : item->streams) pending |= !state.pending.empty();
  }
  return pending ? flush_tags() : Result<void>{};
}

Result<void> Loader::change_metadata(VolumeHandle& handle, const std::function<Result<void>()>& change,
                                     std::optional<std::uint64_t> created_100ns) {
  auto item = find(handle);
  Gate::Pass pass(gate_);
  RS_CHECK(gate_.check_program());
  if (!item) return change();
  std::lock_guard lock(item->mutex);
  // The creation time is part of what the item is known by: announced before it changes.
  auto announce = [&](std::uint64_t created) -> Result<void> {
    if (created == item->created_100ns) return {};
    RS_CHECK(journal_.append_identity(item->id, {item->record, 0, created}));
    item->created_100ns = created;
    return journal_.flush();
  };
  if (created_100ns) RS_CHECK(announce(*created_100ns));
  RS_CHECK(change());
  RS_TRY(auto now, handle.times());
  return announce(now.created_100ns);  // refused, or rounded
}

Result<std::vector<std::uint64_t>> Loader::loaded_since(std::uint64_t journal_bytes) {
  RS_CHECK(flush_tags());
  return journal_.inspect(
      [&](const extract::Provenance& provenance) { return provenance.spoken_of_from(journal_bytes); });
}

Result<void> Loader::flush_tags() {
  std::lock_guard one_at_a_time(flush_mutex_);
  std::vector<std::weak_ptr<Item>> waiting;
  {
    std::lock_guard lock(tags_mutex_);
    waiting.swap(tags_waiting_);
  }
  std::vector<std::pair<std::shared_ptr<Item>, Tags>> batch;
  for (auto& weak : waiting) {
    auto item = weak.lock();
    if (!item) continue;
    std::lock_guard lock(item->mutex);
    item->tags_waiting = false;  // whatever is loaded from here on is listed again
    auto& copy = batch.emplace_back(item, Tags()).second;
    for (auto& [name, state] : item->streams)
      if (!state.pending.empty()) copy[name] = state.pending;
  }
  if (batch.empty()) return journal_.flush();
  auto flushed = volume_.sync();
  for (auto& [item, streams] : batch) {
    std::lock_guard lock(item->mutex);
    for (auto& [name, tags] : streams) {
      if (!flushed) break;
      auto& state = item->streams[name];
      flushed = record_tags(*item, name, state, tags);
    }
  }
  if (flushed) flushed = journal_.flush();
  for (auto& [item, streams] : batch) {
    std::lock_guard lock(item->mutex);
    if (!flushed) note_pending(*item);
    if (flushed) settle_tags(*item, streams);
  }
  if (flushed)
    for (auto& [item, streams] : batch) items_.rest(std::move(item));
  return flushed;
}

// Only a tag that is durable is pending no more: until then zeros over its block must wait. item.mutex is
// held.
void Loader::settle_tags(Item& item, const Tags& streams) {
  for (auto& [name, tags] : streams) {
    auto& pending = item.streams[name].pending;
    for (auto& [block, tag] : tags)
      if (auto now = pending.find(block); now != pending.end() && now->second == tag) pending.erase(now);
  }
}

// Of the tags whose bytes are flushed, those that still stand; consecutive blocks in one record. item.mutex
// is held.
Result<void> Loader::record_tags(Item& item, const std::string& name, const StreamState& state,
                                 const std::map<std::uint64_t, BlockTag>& tags) {
  std::uint64_t first = 0;
  std::vector<BlockTag> run;
  auto end_run = [&]() -> Result<void> {
    if (run.empty()) return {};
    RS_CHECK(journal_.append_loaded(item.id, name, first, run));
    run.clear();
    return {};
  };
  for (auto& [block, tag] : tags) {
    auto now = state.pending.find(block);
    if (now == state.pending.end() || now->second != tag) continue;
    if (!run.empty() && block != first + run.size()) RS_CHECK(end_run());
    if (run.empty()) first = block;
    run.push_back(tag);
  }
  return end_run();
}

}  // namespace roamstead::agent
