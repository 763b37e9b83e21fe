#include "agent/core/working_set.h"

#include <utility>

#include "agent/core/loader.h"
#include "agent/core/registry_loader.h"
#include "common/base/log.h"

namespace roamstead::agent {

using wire::WorkingItem;

namespace {
constexpr std::chrono::milliseconds kQuiet(200);  // no program has waited for so long
}

void WorkingSetLearner::start(std::chrono::milliseconds time) {
  until_ = Clock::now() + time;
  learning_ = true;
}

void WorkingSetLearner::note(WorkingItem item, std::uint64_t content_bytes) {
  constexpr std::size_t kMostSeen = 8 * wire::kMostWorkingItems;
  if (full_ || Clock::now() >= until_) return;
  std::lock_guard lock(mutex_);
  if (!seen_.emplace(item.path, item.key).second) return;
  auto names = name_bytes_ + item.path.size() + item.key.size();
  if (items_.size() >= wire::kMostWorkingItems || names > wire::kMostWorkingNameBytes ||
      seen_.size() > kMostSeen) {
    full_ = true;
    return;
  }
  // A file that is too large does not keep the others out.
  if (content_bytes > wire::kMostWorkingContentBytes - content_bytes_) return;
  name_bytes_ = names;
  content_bytes_ += content_bytes;
  items_.push_back(std::move(item));
}

void WorkingSetLearner::directory(const profile::ProfilePath& path) {
  if (learning_) note({WorkingItem::Kind::directory, path.text(), ""}, 0);
}
void WorkingSetLearner::file(const profile::ProfilePath& path, std::uint64_t size_bytes) {
  if (learning_) note({WorkingItem::Kind::file, path.text(), ""}, size_bytes);
}
void WorkingSetLearner::key(const profile::ProfilePath& hive, const profile::KeyPath& key) {
  if (learning_) note({WorkingItem::Kind::key, hive.text(), key.text()}, 0);
}

std::vector<WorkingItem> WorkingSetLearner::take() {
  learning_ = false;
  std::lock_guard lock(mutex_);
  seen_.clear();
  return std::exchange(items_, {});
}

void Prefetch::start(std::vector<WorkingItem> items) {
  constexpr std::size_t kThreads = 6;
  if (auto usable = wire::check_working_set(items); !usable) {
    log_warning("the coordinator sent {}", usable.error().to_string());
    return;
  }
  items_ = std::move(items);
  if (loader_.preview() != nullptr && !items_.empty()) {
    running_ = 1;
    threads_.emplace_back([this] {
      run_ahead();
      --running_;
    });
    return;
  }
  for (std::size_t i = 0; i < std::min(kThreads, items_.size()); ++i) {
    ++running_;
    threads_.emplace_back([this] {
      run();
      --running_;
    });
  }
}

void Prefetch::stop() {
  stopping_ = true;
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

void Prefetch::run() {
  for (auto index = next_++; index < items_.size() && !stopping_; index = next_++) {
    auto fetched = fetch(items_[index]);
    if (!fetched && fetched.error().code == ErrorCode::stale) return;  // the session is no longer ours
    ++done_;
  }
}

// All lists and files in a few answers, to be shown at once; then what has no preview, one after the other.
void Prefetch::run_ahead() {
  auto fetched = loader_.preview()->fetch_ahead(items_, stopping_);
  if (!fetched) {
    log_info("fetching ahead ended: {}", fetched.error().to_string());
    return;
  }
  done_ += *fetched;
  for (const auto& item : items_) {
    if (item.kind != WorkingItem::Kind::key) continue;
    while (!stopping_ && !loader_.activity().idle_for(kQuiet)) std::this_thread::sleep_for(kQuiet / 10);
    if (stopping_) return;
    auto loaded = fetch(item);
    if (!loaded && loaded.error().code == ErrorCode::stale) return;
    ++done_;
  }
}

Result<void> Prefetch::fetch(const WorkingItem& item) {
  RS_TRY(auto path, profile::ProfilePath::parse(item.path));
  RS_CHECK(loader_.populate_above(path, Priority::background));
  auto place = path.is_root() ? root_ : root_ + "/" + path.text();
  switch (item.kind) {
    case WorkingItem::Kind::directory: {
      RS_TRY(auto directory, volume_.open(place, ""));
      return loader_.populate(*directory, Priority::background);
    }
    case WorkingItem::Kind::file:
      return fetch_file(place);
    case WorkingItem::Kind::key: {
      RS_TRY(auto key, profile::KeyPath::parse(item.key));
      return registry_.load(path, key, false);
    }
  }
  return {};
}

Result<void> Prefetch::fetch_file(const std::string& place) {
  RS_TRY(auto file, volume_.open(place, ""));
  RS_TRY(auto size, file->size());
  // The file may have grown since it was learnt.
  if ((content_bytes_ += size) > wire::kMostWorkingContentBytes) {
    content_bytes_ -= size;
    return {};
  }
  for (std::uint64_t at = 0; at < size && !stopping_; at += wire::kMaxReadBytes)
    RS_CHECK(loader_.load(*file, {at, std::min<std::uint64_t>(wire::kMaxReadBytes, size - at)},
                          Priority::background));
  return {};
}

}  // namespace roamstead::agent
