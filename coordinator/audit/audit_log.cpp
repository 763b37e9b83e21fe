#include "coordinator/audit/audit_log.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "common/base/event.h"
#include "coordinator/audit/audit_file.h"
#include "coordinator/audit/repetitions.h"

namespace roamstead::audit {
namespace {

// A record of an administrator waits so long for the disk.
constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::milliseconds kFirstRetry{1000};
constexpr std::chrono::milliseconds kLastRetry{60'000};
constexpr std::size_t kMaxTornNotes = 1000;
constexpr std::chrono::seconds kHeadInterval{1};
constexpr std::size_t kMaxEventText = 256;

}  // namespace

// The files: used by one thread at a time, the one that opens and then the writer.
class ChainWriter {
 public:
  ChainWriter(os::FileSystem& files, std::string directory, HeadStore& heads, std::uint64_t rotate_bytes)
      : files_(files), directory_(std::move(directory)), heads_(heads), rotate_bytes_(rotate_bytes) {}

  // Finds the end of the chain; begins a new file where the last one cannot be gone on with.
  Result<void> resume();
  bool usable() const { return file_ != nullptr; }
  const Head& head() const { return head_; }

  struct Entry {
    const Record& record;
    const std::string& time;
  };
  // All of them durable, or, after an error, perhaps some: the file is not written again.
  Result<void> write(const std::vector<Entry>& entries);
  // Notes how far the chain has come, where it must not be forgotten together with its end.
  void save_head();

 private:
  // A file of that number is missing or empty.
  Result<void> begin_file(FileBegin begin);
  Result<void> write_durably(const std::string& text, const Head& head);

  os::FileSystem& files_;
  const std::string directory_;
  HeadStore& heads_;
  const std::uint64_t rotate_bytes_;
  std::unique_ptr<os::File> file_;  // null after a failure
  std::uint64_t number_ = 0;
  std::uint64_t size_ = 0;
  Head head_;
  std::uint64_t saved_ = 0;  // the sequence that HeadStore knows
};

Result<void> ChainWriter::resume() {
  file_.reset();
  RS_TRY(auto expected, heads_.load());
  RS_TRY(auto numbers, list_files(files_, directory_));
  std::vector<Torn> torn;
  Head end;
  std::uint64_t last = numbers.empty() ? 0 : numbers.back();
  bool matches = true;  // the records say what the head says
  bool found = false;   // a file with a chain
  bool empty = false;   // the last file holds nothing: its beginning failed
  for (auto it = numbers.rbegin(); it != numbers.rend() && !found; ++it) {
    RS_TRY(auto content, os::read_file(files_, os::join_path(directory_, file_name(*it)), kMaxFileBytes));
    auto scanned = scan(content, std::nullopt, [&](const Head& at, std::string_view) {
      if (expected && at.sequence == expected->sequence) matches = at.hash == expected->hash;
    });
    if (*it == last) empty = content.empty();
    found = scanned.lines != 0;
    if (found) {
      end = scanned.head;
      size_ = content.size();
    }
    if (scanned.problem.empty()) continue;
    auto tail = ByteView(content).subspan(static_cast<std::size_t>(scanned.good_bytes));
    log_event(Event::audit_tail_cut,
              "audit log: {}/{}: {} bytes from offset {} are no whole records (a write that was cut?): {}",
              directory_, file_name(*it), tail.size(), scanned.good_bytes, scanned.problem);
    if (torn.size() < kMaxTornNotes) torn.push_back({*it, scanned.good_bytes, tail.size(), sha256(tail)});
  }
  std::reverse(torn.begin(), torn.end());
  bool lost = expected && (expected->sequence > end.sequence || !matches);
  if (lost)
    log_event(Event::audit_gap,
              "audit log: {}: record {} was durable and is not there as it was; the log goes on after {}",
              directory_, expected->sequence, end.sequence);
  head_ = end;
  number_ = last;
  if (found && !empty && torn.empty() && !lost && size_ < rotate_bytes_) {
    RS_TRY(file_, files_.open(os::join_path(directory_, file_name(number_)), os::OpenMode::read_write));
    return {};
  }
  return begin_file({empty ? last : last + 1, head_, std::move(torn), lost ? expected : std::nullopt});
}

Result<void> ChainWriter::begin_file(FileBegin begin) {
  file_.reset();
  RS_TRY(auto file, files_.open(os::join_path(directory_, file_name(begin.number)), os::OpenMode::create));
  RS_CHECK(files_.sync_directory(directory_));
  file_ = std::move(file);
  number_ = begin.number;
  size_ = 0;
  auto head = begin.previous;
  auto line = begin_line(begin, time_text(), head);
  return write_durably(line, head);
}

Result<void> ChainWriter::write_durably(const std::string& text, const Head& head) {
  auto written = file_->write_at(size_, as_bytes(text));
  if (written) written = file_->sync();
  if (!written) {  // what is there now is unknown: resume() looks
    file_.reset();
    return written;
  }
  size_ += text.size();
  head_ = head;
  return {};
}

void ChainWriter::save_head() {
  if (saved_ == head_.sequence) return;
  auto saved = heads_.save(head_);
  if (saved)
    saved_ = head_.sequence;
  else  // the records are durable even so
    log_event(Event::audit_head_unnoted, "audit log: cannot note its head: {}", saved.error().to_string());
}

Result<void> ChainWriter::write(const std::vector<Entry>& entries) {
  if (size_ >= rotate_bytes_) RS_CHECK(begin_file({number_ + 1, head_, {}, {}}));
  auto head = head_;
  std::string text;
  for (const auto& entry : entries) text += record_line(entry.record, entry.time, head);
  return write_durably(text, head);
}

class AuditLog::Impl {
 public:
  Impl(os::FileSystem& files, const std::string& directory, HeadStore& heads, Options options)
      : directory_(directory),
        options_(std::move(options)),
        repetitions_(options_),
        writer_(files, directory, heads, options_.rotate_bytes) {}
  ~Impl() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Result<void> start() {
    RS_CHECK(writer_.resume());
    writer_.save_head();
    head_ = writer_.head();
    thread_ = std::thread([this] { run(); });
    return {};
  }

  void append(Record record) {
    auto time = time_text();
    // Much of it was chosen by who was refused.
    for (auto* text : {&record.what, &record.who, &record.about, &record.reason})
      if (text->size() > kMaxEventText) text->resize(kMaxEventText);
    for (auto& [name, value] : record.fields)
      if (value.size() > kMaxEventText) value.resize(kMaxEventText);
    std::lock_guard lock(mutex_);
    if (!repetitions_.admit(record, time, options_.now())) return;
    if (queue_.size() >= options_.max_queued) {
      repetitions_.lost();
      return;
    }
    queue_.push_back({std::move(record), std::move(time), ++submitted_});
    changed_.notify_all();
  }

  Result<void> append_durably(Record record) {
    std::unique_lock lock(mutex_);
    queue_.push_back({std::move(record), time_text(), ++submitted_});
    return wait(lock, submitted_);
  }

  Result<void> flush() {
    std::unique_lock lock(mutex_);
    return wait(lock, submitted_);
  }

  Head head() const {
    std::lock_guard lock(mutex_);
    return head_;
  }
  const std::string& directory() const { return directory_; }

 private:
  struct Queued {
    Record record;
    std::string time;
    std::uint64_t ticket = 0;
  };

  Result<void> wait(std::unique_lock<std::mutex>& lock, std::uint64_t ticket) {
    ++waiting_;
    ++waits_;
    changed_.notify_all();
    auto failures = failures_;
    bool settled = written_signal_.wait_for(lock, kPatience,
                                            [&] { return written_ >= ticket || failures_ != failures; });
    --waiting_;
    if (written_ >= ticket) return {};
    if (!settled) return fail(ErrorCode::timeout, directory_ + ": the disk does not answer");
    return fail(last_failure_);
  }

  void run() {
    std::unique_lock lock(mutex_);
    auto pause = kFirstRetry;
    for (bool last = false; !last;) {
      // Woken for what is queued, and once in a while for windows that are over.
      changed_.wait_for(lock, std::chrono::seconds(1), [&] { return stopping_ || !queue_.empty(); });
      if (!queue_.empty())
        changed_.wait_for(lock, options_.latency, [&] { return stopping_ || waiting_ != 0; });
      last = stopping_;
      for (auto& summary : repetitions_.collect(options_.now(), last))
        queue_.push_back({std::move(summary), time_text(), ++submitted_});
      if (queue_.empty() || write_burst(lock)) {
        pause = kFirstRetry;
        if (waiting_ == 0) save_head(lock);
      } else if (!last) {
        changed_.wait_for(lock, pause, [&, seen = waits_] { return stopping_ || waits_ != seen; });
        pause = std::min(pause * 2, kLastRetry);
      }
    }
    lock.unlock();
    if (writer_.usable()) writer_.save_head();
  }

  // At most once a second while nobody waits: it costs a transaction. Gives the lock up.
  void save_head(std::unique_lock<std::mutex>& lock) {
    auto now = std::chrono::steady_clock::now();
    if (now - head_saved_ < kHeadInterval && !stopping_) return;
    head_saved_ = now;
    lock.unlock();
    writer_.save_head();
    lock.lock();
  }

  // Gives the lock up while it writes.
  bool write_burst(std::unique_lock<std::mutex>& lock) {
    std::deque<Queued> burst;
    burst.swap(queue_);
    bool promptly = waiting_ != 0;
    lock.unlock();
    auto done = writer_.usable() ? Result<void>{} : writer_.resume();
    if (done) {
      std::vector<ChainWriter::Entry> entries;
      for (const auto& each : burst) entries.push_back({each.record, each.time});
      done = writer_.write(entries);
    }
    if (done && promptly) writer_.save_head();
    lock.lock();
    bool success = done.has_value();
    if (success) {
      // What was dropped for want of room has the highest tickets.
      written_ = queue_.empty() ? submitted_ : burst.back().ticket;
      head_ = writer_.head();
    } else {
      log_event(Event::audit_unwritten, "audit log: cannot write: {}", done.error().to_string());
      last_failure_ = std::move(done).error().with("audit log");
      ++failures_;
      // Tried again, those that somebody waited for too: better twice than not at all. The oldest first, and
      // as many as there is room for.
      queue_.insert(queue_.begin(), std::make_move_iterator(burst.begin()),
                    std::make_move_iterator(burst.end()));
      while (queue_.size() > options_.max_queued) {
        queue_.pop_back();
        repetitions_.lost();
      }
    }
    written_signal_.notify_all();
    return success;
  }

  const std::string directory_;
  const Options options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;         // for the writer
  std::condition_variable written_signal_;  // for who waits
  // Guarded by mutex_:
  Repetitions repetitions_;
  std::deque<Queued> queue_;
  std::uint64_t submitted_ = 0;  // tickets given out
  std::uint64_t written_ = 0;    // durable up to this ticket
  std::uint64_t failures_ = 0;
  Error last_failure_{ErrorCode::internal, "nothing failed"};
  int waiting_ = 0;
  std::uint64_t waits_ = 0;  // begun so far
  bool stopping_ = false;
  Head head_;
  std::chrono::steady_clock::time_point head_saved_{};

  ChainWriter writer_;
  std::thread thread_;
};

AuditLog::AuditLog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AuditLog::~AuditLog() = default;

Result<std::unique_ptr<AuditLog>> AuditLog::open(os::FileSystem& files, const std::string& directory,
                                                 HeadStore& heads, Options options) {
  RS_CHECK(files.make_directories(directory));
  auto impl = std::make_unique<Impl>(files, directory, heads, std::move(options));
  RS_CHECK_CTX("audit log", impl->start());
  return std::unique_ptr<AuditLog>(new AuditLog(std::move(impl)));
}

void AuditLog::append(Record record) { impl_->append(std::move(record)); }
Result<void> AuditLog::append_durably(Record record) { return impl_->append_durably(std::move(record)); }
Result<void> AuditLog::flush() { return impl_->flush(); }
Head AuditLog::head() const { return impl_->head(); }
const std::string& AuditLog::directory() const { return impl_->directory(); }

}  // namespace roamstead::audit
