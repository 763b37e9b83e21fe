#include "agent/core/fill.h"

#include "agent/core/registry_loader.h"
#include "common/base/log.h"

namespace roamstead::agent {

Result<FillLevel> parse_fill_level(const std::string& text) {
  if (text == "none") return FillLevel::none;
  if (text == "metadata") return FillLevel::metadata;
  if (text == "all") return FillLevel::all;
  return fail(ErrorCode::invalid_argument, "'" + text + "' is not none, metadata or all");
}

void Fill::start(FillLevel level) {
  std::lock_guard lock(mutex_);
  if (level <= progress_.level) return;
  progress_.level = level;
  progress_.complete = false;
  if (!running_) {
    running_ = true;
    worker_.start([this] { run(); });
  }
  worker_.ring();
}

FillProgress Fill::progress() const {
  std::lock_guard lock(mutex_);
  return progress_;
}

bool Fill::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  if (progress_.level == FillLevel::none) return false;
  return changed_.wait_for(lock, patience, [&] { return progress_.complete; });
}

void Fill::note_error(const Error& error) {
  std::lock_guard lock(mutex_);
  progress_.last_error = error.to_string();
}

void Fill::run() {
  while (!worker_.stopping()) {
    auto level = progress().level;
    bool whole = !progress().complete && pass(level);
    if (whole) {  // complete means: also after a crash nothing of this looks like a change
      auto flushed = loader_.flush_tags();
      if (!flushed) note_error(flushed.error());
      whole = flushed.has_value();
    }
    bool more = false, complete = false;
    {
      std::lock_guard lock(mutex_);
      if (whole && level == progress_.level) {
        progress_.complete = true;
        progress_.last_error.clear();
        changed_.notify_all();
      }
      complete = progress_.complete;
      more = !complete && whole;  // the level was raised meanwhile
    }
    if (complete)
      worker_.wait();
    else if (!more)
      worker_.sleep(std::chrono::milliseconds(1000));
  }
}

// False when something failed, moved away, or the fill shall stop.
bool Fill::pass(FillLevel level) {
  {
    std::lock_guard lock(mutex_);
    progress_.directories = progress_.files = 0;
  }
  std::vector<std::string> directories{root_};
  bool whole = true;
  if (level == FillLevel::all && loader_.registry() != nullptr)
    if (auto filled = fill_registry(); !filled) {
      if (worker_.stopping()) return false;
      note_error(filled.error());
      whole = false;  // go on with the files
    }
  add_named(directories);
  while (!directories.empty()) {
    if (!give_way()) return false;
    auto path = std::move(directories.back());
    directories.pop_back();
    if (auto visited = visit_directory(path, directories, level); !visited) {
      note_error(visited.error());
      whole = false;
    }
  }
  return whole;
}

// What rules name comes before the rest, the first rule's first.
void Fill::add_named(std::vector<std::string>& directories) {
  if (loader_.rules() == nullptr) return;
  const auto& all = loader_.rules()->all();
  for (auto rule = all.rbegin(); rule != all.rend(); ++rule) {
    if (rule->action != profile::RuleAction::background) continue;
    const auto folder = profile::literal_folder(rule->pattern);
    const auto path = profile::ProfilePath::parse(folder);
    if (!path || path->is_root()) continue;
    if (!loader_.populate_above(*path, Priority::background)) continue;  // the walk says what is wrong
    auto there = volume_.stat(root_ + "/" + folder);
    auto listed = there ? volume_.list(root_ + "/" + folder) : fail(there.error());
    if (listed) directories.push_back(root_ + "/" + folder);
  }
}

Result<void> Fill::fill_registry() {
  auto& registry = *loader_.registry();
  Result<void> result;
  for (const auto& hive : profile::hive_paths()) {
    auto filled = loader_.populate_above(hive, Priority::background);
    for (bool more = filled.has_value(); more;) {
      const auto before = registry.progress().fetched_bytes;
      auto some = registry.fill(hive, [this] { return give_way(); });
      keep_rate(registry.progress().fetched_bytes - before);
      if (worker_.stopping()) return fail(ErrorCode::cancelled, "filling was stopped");
      more = some.value_or(false);
      if (!some) filled = fail(std::move(some).error());
    }
    if (!filled) result = std::move(filled);
  }
  return result;
}

void Fill::keep_rate(std::uint64_t bytes) {
  if (const auto rate = bytes_per_second_.load(); rate != 0)
    earliest_ =
        std::max(earliest_, Activity::Clock::now()) + std::chrono::microseconds(bytes * 1'000'000 / rate);
}

Result<void> Fill::visit_directory(const std::string& path, std::vector<std::string>& directories,
                                   FillLevel level) {
  const auto* rules = loader_.rules();
  if (rules != nullptr && path != root_ && !rules->loads_below(in_profile(path))) return {};
  RS_TRY(auto handle, volume_.open(path, ""));
  RS_CHECK(loader_.populate(*handle, Priority::background));
  {
    std::lock_guard lock(mutex_);
    ++progress_.directories;
  }
  RS_TRY(auto items, volume_.list(path));
  Result<void> result;
  for (auto& item : items) {
    auto child = path + "/" + item.name;
    if (item.directory) {
      directories.push_back(std::move(child));
      continue;
    }
    if (level != FillLevel::all) continue;
    if (rules != nullptr && rules->file(in_profile(child)).loading == profile::Loading::on_demand) continue;
    if (auto visited = visit_file(child, item.record); !visited) {
      if (worker_.stopping()) return visited;
      result = std::move(visited);  // go on with the others
    }
  }
  return result;
}

Result<void> Fill::visit_file(const std::string& path, std::uint64_t record) {
  constexpr std::uint64_t kStep = wire::kMaxReadBytes;
  for (auto& stream : loader_.unloaded_streams(record)) {
    RS_TRY(auto handle, volume_.open(path, stream));
    RS_TRY(auto size, handle->size());
    for (std::uint64_t offset = 0; offset < size; offset += kStep) {
      if (!give_way()) return fail(ErrorCode::cancelled, "filling was stopped");
      auto before = loader_.counters().fetched_bytes.load();
      RS_CHECK(loader_.load(*handle, {offset, std::min(kStep, size - offset)}, Priority::background));
      auto bytes = loader_.counters().fetched_bytes.load() - before;
      keep_rate(bytes);
      std::lock_guard lock(mutex_);
      progress_.loaded_bytes += bytes;
    }
  }
  std::lock_guard lock(mutex_);
  ++progress_.files;
  return {};
}

// Looked at once a second, and only while something is being filled.
bool Fill::is_machine_busy() {
  if (!load_) return false;
  const auto now = Activity::Clock::now();
  if (now >= look_at_load_) {
    look_at_load_ = now + std::chrono::seconds(1);
    if (const auto load = load_->read()) load_reason_ = judge_.judge(*load, now);
  }
  return load_reason_ != LoadReason::none;
}

void Fill::note_pause(const char* why) {
  std::lock_guard lock(mutex_);
  if (progress_.paused != why) progress_.paused = why;
}

// Waits while paused, while the machine is busy, while programs wait for loads (for at most two seconds:
// filling must end some time), and to keep the rate. False when the fill shall stop.
bool Fill::give_way() {
  auto patience = Activity::Clock::now() + std::chrono::seconds(2);
  for (;;) {
    auto now = Activity::Clock::now();
    bool busy = now < patience && !loader_.activity().idle_for(std::chrono::milliseconds(30));
    const bool loaded = is_machine_busy();
    note_pause(paused_ ? "by request" : loaded ? to_string(load_reason_).data() : "");
    if (!paused_ && !loaded && !busy && now >= earliest_) return !worker_.stopping();
    if (worker_.stopping() || !worker_.sleep(std::chrono::milliseconds(10))) return false;
  }
}

}  // namespace roamstead::agent
