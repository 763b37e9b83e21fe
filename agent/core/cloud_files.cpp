#include "agent/core/cloud_files.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/profile/registry.h"

namespace roamstead::agent {
namespace {

using profile::ProfilePath;

// Whether one is the other or lies below it, as NTFS compares names.
bool holds(const ProfilePath& above, const ProfilePath& path) {
  const auto a = above.components(), b = path.components();
  if (a.size() > b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!same_name(a[i], b[i])) return false;
  return true;
}

bool is_retryable(const Error& error) {
  switch (error.code) {
    case ErrorCode::unavailable:
    case ErrorCode::timeout:
    case ErrorCode::busy:
    case ErrorCode::cancelled:
    case ErrorCode::stale:
    case ErrorCode::full:
      return true;
    default:
      return false;
  }
}

}  // namespace

CloudFiles::CloudFiles(CloudFilesPort& port, CloudSource& source, CloudFilesOptions options)
    : port_(port), source_(source), options_(options) {
  for (std::size_t i = 0; i < std::max<std::size_t>(1, options_.threads); ++i)
    threads_.emplace_back([this] { work(); });
}

CloudFiles::~CloudFiles() { stop(); }

Result<void> CloudFiles::add_root(const ProfilePath& root) {
  for (const auto& hive : profile::hive_paths())
    if (holds(root, hive))
      return fail(ErrorCode::invalid_argument, "'" + root.text() + "' cannot be a sync root: the hive " +
                                                   hive.text() + " is in it; choose a folder beside it");
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return fail(ErrorCode::cancelled, "the provider is ending");
    for (const auto& other : roots_)
      if (holds(other, root) || holds(root, other))
        return fail(ErrorCode::conflict,
                    "'" + root.text() + "' overlaps with the sync root '" + other.text() + "'");
    roots_.insert(root);  // nobody else begins it meanwhile
  }
  auto done = port_.register_root(root);
  if (done) {
    done = port_.connect(root, *this);
    // One that was registered by a provider before us, with placeholders in it, stays so.
    if (!done) log_warning("sync root '{}': {}", root.text(), done.error().to_string());
  }
  if (done) return {};
  std::lock_guard lock(mutex_);
  roots_.erase(root);
  return fail(std::move(done).error().with("sync root '" + root.text() + "'"));
}

Result<void> CloudFiles::remove_root(const ProfilePath& root) {
  {
    std::lock_guard lock(mutex_);
    if (roots_.count(root) == 0)
      return fail(ErrorCode::not_found, "'" + root.text() + "' is no sync root of ours");
  }
  RS_CHECK(port_.disconnect(root));
  RS_CHECK(port_.unregister_root(root));
  std::lock_guard lock(mutex_);
  roots_.erase(root);
  return {};
}

Result<void> CloudFiles::set_pin(const ProfilePath& path, CloudPin pin) {
  RS_CHECK(port_.set_pin(path, pin));
  return pin == CloudPin::pinned ? port_.hydrate(path) : Result<void>();
}

void CloudFiles::stop() {
  std::set<ProfilePath> roots;
  std::deque<CloudRequest> left;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    roots = roots_;
    left.swap(waiting_);
    for (auto& [id, cancelled] : running_) cancelled = true;
    changed_.notify_all();
  }
  for (const auto& request : left)
    refuse(request, request.range, Error(ErrorCode::cancelled, "the provider is ending"));
  for (auto& thread : threads_) thread.join();
  for (const auto& root : roots)
    if (auto done = port_.disconnect(root); !done)
      log_warning("sync root '{}': {}", root.text(), done.error().to_string());
}

CloudFilesStatus CloudFiles::status() const {
  std::lock_guard lock(mutex_);
  auto status = status_;
  status.roots = roots_.size();
  status.waiting = waiting_.size();
  status.running = running_.size();
  return status;
}

void CloudFiles::on_request(const CloudRequest& request) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_ && waiting_.size() < options_.most_waiting) {
      waiting_.push_back(request);
      changed_.notify_one();
      return;
    }
  }
  refuse(request, request.range, Error(ErrorCode::busy, "too much is asked for at once"));
}

void CloudFiles::on_cancel(CloudRequestId id) {
  std::lock_guard lock(mutex_);
  const auto waiting =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const CloudRequest& each) { return each.id == id; });
  if (waiting != waiting_.end()) {
    waiting_.erase(waiting);
    ++status_.cancelled;
  } else if (const auto running = running_.find(id); running != running_.end()) {
    running->second = true;
    changed_.notify_all();
  }
}

void CloudFiles::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const auto request = std::move(waiting_.front());
    waiting_.pop_front();
    running_[request.id] = false;
    lock.unlock();
    answer(request);
    lock.lock();
    if (running_[request.id]) ++status_.cancelled;
    running_.erase(request.id);
  }
}

bool CloudFiles::is_ending() const {
  std::lock_guard lock(mutex_);
  return stopping_;
}

bool CloudFiles::is_cancelled(CloudRequestId id) const {
  std::lock_guard lock(mutex_);
  const auto found = running_.find(id);
  return found == running_.end() || found->second;
}

void CloudFiles::refuse(const CloudRequest& request, ByteRange rest, const Error& why) {
  log_info("not brought: '{}': {}", request.path.text(), why.to_string());
  if (auto told = port_.refuse(request, rest, is_retryable(why));
      !told && told.error().code != ErrorCode::cancelled)
    log_warning("'{}': {}", request.path.text(), told.error().to_string());
  std::lock_guard lock(mutex_);
  ++status_.refused;
}

void CloudFiles::answer(const CloudRequest& request) {
  Result<void> done;
  switch (request.kind) {
    case CloudRequest::Kind::fetch_data:
      done = answer_data(request);
      break;
    case CloudRequest::Kind::fetch_placeholders:
      done = answer_placeholders(request);
      break;
    case CloudRequest::Kind::dehydrate:
      done = port_.allow_dehydrate(request.id, false);
      break;
  }
  if (!done) {
    if (done.error().code != ErrorCode::cancelled)
      log_warning("'{}': {}", request.path.text(), done.error().to_string());
    return;
  }
  std::lock_guard lock(mutex_);
  ++status_.answered;
}

bool CloudFiles::pause() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, options_.pause, [&] { return stopping_; });
  return !stopping_;
}

template <class Call>
auto CloudFiles::patiently(const CloudRequest& request, std::uint64_t done, Call call) -> decltype(call()) {
  const auto until = Clock::now() + options_.patience;
  for (;;) {
    auto result = call();
    if (result || !is_retryable(result.error()) || Clock::now() >= until) return result;
    if (is_cancelled(request.id)) return result;
    // A valid operation: it begins the 60 s anew, for this request and all others.
    if (auto told = port_.report_progress(request.id, done, std::max(request.range.length, done)); !told)
      return fail(std::move(told).error());
    if (!pause()) return result;
  }
}

Result<void> CloudFiles::answer_data(const CloudRequest& request) {
  const auto size = request.size_bytes;
  const auto begin = request.range.offset / kAlignment * kAlignment;
  const auto wanted_end = std::min(size, request.range.end());
  const auto end = std::min(size, wanted_end > size - std::min(size, kAlignment)
                                      ? size
                                      : (wanted_end + kAlignment - 1) / kAlignment * kAlignment);
  const auto stop_here = [&](std::uint64_t at, const Error& why) -> Result<void> {
    if (is_cancelled(request.id) && !is_ending())
      return fail(ErrorCode::cancelled, "nobody waits for it any more");
    refuse(request, {at, end - at}, why);
    return fail(ErrorCode::cancelled, "refused");
  };
  if (source_.excludes(request.process))
    return stop_here(begin,
                     Error(ErrorCode::denied, "'" + request.process + "' makes nothing be loaded, by rule"));
  const auto piece = std::max<std::uint64_t>(kAlignment, options_.piece_bytes / kAlignment * kAlignment);
  for (auto at = begin; at < end;) {
    if (is_cancelled(request.id)) return stop_here(at, Error(ErrorCode::cancelled, "the provider is ending"));
    const ByteRange part{at, std::min(piece, end - at)};
    auto data = patiently(request, at - begin, [&] { return source_.read(request.path, part); });
    if (data && data->size() != part.length)
      data = fail(ErrorCode::corrupt, std::to_string(data->size()) + " bytes at " + std::to_string(at) +
                                          ", " + std::to_string(part.length) + " expected");
    if (!data) return stop_here(at, data.error());
    if (auto announced = source_.announce(request.path, at, *data); !announced)
      return stop_here(at, announced.error());
    RS_CHECK(port_.transfer_data(request.id, at, *data));
    at = part.end();
    std::lock_guard lock(mutex_);
    status_.transferred_bytes += part.length;
  }
  return {};
}

Result<void> CloudFiles::answer_placeholders(const CloudRequest& request) {
  const auto stop_here = [&](const Error& why) -> Result<void> {
    if (!is_cancelled(request.id) || is_ending()) refuse(request, {}, why);
    return fail(ErrorCode::cancelled, "refused");
  };
  auto entries = patiently(request, 0, [&] { return source_.list(request.path); });
  if (!entries) return stop_here(entries.error());
  std::vector<CloudPlaceholder> items;
  for (auto& entry : *entries) {
    if (auto fine = profile::check_name(entry.name); !fine) return stop_here(fine.error());
    items.push_back({entry.name, entry.entry, request.path.child(entry.name)});
  }
  if (auto announced = source_.announce(request.path, *entries); !announced)
    return stop_here(announced.error());
  const auto most = std::max<std::size_t>(1, options_.placeholders_at_once);
  std::size_t at = 0;
  do {
    if (is_cancelled(request.id)) return stop_here(Error(ErrorCode::cancelled, "the provider is ending"));
    const auto count = std::min(most, items.size() - at);
    const std::vector<CloudPlaceholder> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                                             items.begin() + static_cast<std::ptrdiff_t>(at + count));
    at += count;
    RS_CHECK(port_.transfer_placeholders(request.id, part, at == items.size()));
  } while (at < items.size());
  return {};
}

}  // namespace roamstead::agent
