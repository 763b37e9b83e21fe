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
  // Not among them: what Windows tells may lead to calls that it asks us about before they return.
  threads_.emplace_back([this] { take_notes(); });
}

CloudFiles::~CloudFiles() { stop(); }

Result<void> CloudFiles::add_root(const ProfilePath& root, const ProfilePath& base) {
  for (const auto& hive : profile::hive_paths())
    if (holds(root, hive))
      return fail(ErrorCode::invalid_argument, "'" + root.text() + "' cannot be a sync root: the hive " +
                                                   hive.text() + " is in it; choose a folder beside it");
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return fail(ErrorCode::cancelled, "the provider is ending");
    for (const auto& [other, where] : roots_)
      if (holds(other, root) || holds(root, other))
        return fail(ErrorCode::conflict,
                    "'" + root.text() + "' overlaps with the sync root '" + other.text() + "'");
    roots_[root] = base;  // nobody else begins it meanwhile
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

bool CloudFiles::covers(const ProfilePath& base_path) const {
  std::lock_guard lock(mutex_);
  return !stopping_ && std::any_of(roots_.begin(), roots_.end(), [&](const auto& root) {
    return !(root.second == base_path) && holds(root.second, base_path);
  });
}

Result<void> CloudFiles::convert(FileNumber file, bool directory) {
  RS_CHECK(port_.convert(file, directory, options_.identity));
  std::lock_guard lock(mutex_);
  ++status_.placeholders;
  return {};
}

Result<void> CloudFiles::hydrate(FileNumber file) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return fail(ErrorCode::unavailable, "the provider is ending");
    ++calls_;
  }
  auto hydrated = port_.hydrate(file);
  std::lock_guard lock(mutex_);
  --calls_;
  changed_.notify_all();
  return hydrated;
}

void CloudFiles::stop() {
  std::map<ProfilePath, ProfilePath> roots;
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
  for (const auto& [root, base] : roots)
    if (auto done = port_.disconnect(root); !done)
      log_warning("sync root '{}': {}", root.text(), done.error().to_string());
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return calls_ == 0; });  // Windows lets them go, as nobody is there to answer
}

CloudFilesStatus CloudFiles::status() const {
  std::lock_guard lock(mutex_);
  auto status = status_;
  status.roots = roots_.size();
  status.waiting = waiting_.size();
  status.running = running_.size();
  status.notes = notes_.size() + (noting_ ? 1 : 0);
  return status;
}

void CloudFiles::on_request(const CloudRequest& request) {
  using Kind = CloudRequest::Kind;
  const bool told =
      request.kind == Kind::dehydrated || request.kind == Kind::closed || request.kind == Kind::attributes;
  {
    std::lock_guard lock(mutex_);
    if (told) {
      if (stopping_) return;
      notes_.push_back(request);
      if (notes_.size() > options_.most_notes) notes_.pop_front();
      changed_.notify_all();
      return;
    }
    if (!stopping_ && waiting_.size() < options_.most_waiting) {
      waiting_.push_back(request);
      changed_.notify_all();
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

void CloudFiles::take_notes() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !notes_.empty(); });
    if (stopping_) return;
    const auto note = std::move(notes_.front());
    notes_.pop_front();
    noting_ = true;
    lock.unlock();
    look_after(note);
    lock.lock();
    noting_ = false;
  }
}

void CloudFiles::look_after(const CloudRequest& note) {
  Result<void> done;
  if (note.kind == CloudRequest::Kind::dehydrated) done = source_.released(note.item, note.done);
  if (note.kind == CloudRequest::Kind::closed) done = source_.closed(note.item);
  if (note.kind == CloudRequest::Kind::attributes) done = look_at_pin(note.item);
  if (note.kind == CloudRequest::Kind::dehydrated && note.done) {
    std::lock_guard lock(mutex_);
    ++status_.dehydrated;
  }
  if (!done) log_info("'{}': {}", note.item.path.text(), done.error().to_string());
}

// What the user wants to have always is brought; what he wants to have no more goes, if it may.
Result<void> CloudFiles::look_at_pin(const CloudItem& item) {
  RS_TRY(const auto state, port_.state(item.file));
  if (!state.placeholder) return {};
  if (state.pin == CloudPin::pinned && !state.whole) return port_.hydrate(item.file);
  if (state.pin != CloudPin::unpinned || !state.whole || !state.in_sync) return {};
  RS_TRY(const bool may, source_.release(item));
  if (!may) return {};
  const auto gone = port_.dehydrate(item.file);
  RS_CHECK(source_.released(item, gone.has_value()));
  return gone;
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
  log_info("not brought: '{}': {}", request.item.path.text(), why.to_string());
  if (auto told = port_.refuse(request, rest, is_retryable(why));
      !told && told.error().code != ErrorCode::cancelled)
    log_warning("'{}': {}", request.item.path.text(), told.error().to_string());
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
      done = answer_dehydrate(request);
      break;
    default:
      break;
  }
  if (!done) {
    if (done.error().code != ErrorCode::cancelled)
      log_warning("'{}': {}", request.item.path.text(), done.error().to_string());
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

Result<void> CloudFiles::patiently(const CloudRequest& request, std::uint64_t done,
                                   const std::function<Result<void>()>& call) {
  const auto until = Clock::now() + options_.patience;
  for (;;) {
    auto result = call();
    if (result || !is_retryable(result.error()) || Clock::now() >= until) return result;
    if (is_cancelled(request.id)) return result;
    // A valid operation: it begins the 60 s anew, for this request and all others.
    RS_CHECK(port_.report_progress(request.id, done, std::max(request.range.length, done)));
    if (!pause()) return result;
  }
}

Result<void> CloudFiles::answer_data(const CloudRequest& request) {
  const auto size = request.size_bytes;
  const auto begin = request.range.offset / kAlignment * kAlignment;
  const auto wanted_end = std::min(size, request.range.end());
  // Not a piece more than Windows waits for: of a request that is complete nothing is taken.
  const auto last_block = wanted_end - wanted_end % kAlignment;
  const auto end =
      last_block == wanted_end ? wanted_end : last_block + std::min(kAlignment, size - last_block);
  const auto stop_here = [&](std::uint64_t at, const Error& why) -> Result<void> {
    if ((is_cancelled(request.id) || why.code == ErrorCode::cancelled) && !is_ending())
      return fail(ErrorCode::cancelled, "nobody waits for it any more");
    refuse(request, {at, end - at}, why);
    return fail(ErrorCode::cancelled, "refused");
  };
  if (begin >= end)
    return stop_here(begin, Error(ErrorCode::invalid_argument, "nothing of the file is asked for"));
  if (request.identity != options_.identity)
    return stop_here(begin, Error(ErrorCode::denied, "it is a placeholder of another session"));
  if (source_.excludes(request.process))
    return stop_here(begin,
                     Error(ErrorCode::denied, "'" + request.process + "' makes nothing be loaded, by rule"));
  const auto piece = std::max<std::uint64_t>(kAlignment, options_.piece_bytes / kAlignment * kAlignment);
  for (auto at = begin; at < end;) {
    if (is_cancelled(request.id)) return stop_here(at, Error(ErrorCode::cancelled, "the provider is ending"));
    const ByteRange part{at, std::min(piece, end - at)};
    auto done = patiently(request, at - begin, [&] {
      return source_.read(request.item, part, [&](std::uint64_t offset, ByteView data) -> Result<void> {
        if (offset != part.offset || data.size() != part.length)
          return fail(ErrorCode::corrupt, std::to_string(data.size()) + " bytes at " +
                                              std::to_string(offset) + ", " + std::to_string(part.length) +
                                              " at " + std::to_string(part.offset) + " expected");
        return port_.transfer_data(request.id, offset, data);
      });
    });
    if (!done) return stop_here(at, done.error());
    at = part.end();
    std::lock_guard lock(mutex_);
    status_.transferred_bytes += part.length;
  }
  return {};
}

Result<void> CloudFiles::answer_placeholders(const CloudRequest& request) {
  const bool ours = request.identity == options_.identity;
  auto done = ours ? patiently(request, 0, [&] { return source_.populate(request.item); })
                   : fail(ErrorCode::denied, "it is a placeholder of another session");
  if (done) return port_.complete_directory(request.id);
  if (!is_cancelled(request.id) || is_ending()) refuse(request, {}, done.error());
  return fail(ErrorCode::cancelled, "refused");
}

// What is pinned stays, what was changed stays; and what is allowed is durably no program's before it is.
Result<void> CloudFiles::answer_dehydrate(const CloudRequest& request) {
  const auto state = port_.state(request.item.file);
  bool may =
      state && state->in_sync && state->pin != CloudPin::pinned && request.identity == options_.identity;
  if (may) {
    const auto released = source_.release(request.item);
    if (!released) log_info("'{}': {}", request.item.path.text(), released.error().to_string());
    may = released.value_or(false);
  }
  auto told = port_.allow_dehydrate(request.id, may);
  if (may && !told) RS_CHECK(source_.released(request.item, false));
  return told;
}

}  // namespace roamstead::agent
