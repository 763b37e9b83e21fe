// The provider's half of the Cloud Files API against a simulation of Windows' half that behaves as Microsoft
// documents it. Nothing here shows how Windows itself behaves: docs/testing.md.
#include "agent/core/cloud_files.h"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>

#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

using profile::ProfilePath;
using namespace std::chrono_literals;

ProfilePath at(std::string_view text) { return ProfilePath::parse(text).value(); }

Bytes content_of(const ProfilePath& path, std::uint64_t size) {
  Bytes bytes(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>((i * 31 + i / 4096 + path.text().size()) % 251);
  return bytes;
}

// A simulation of Windows. A program's request waits here until it is answered, refused, or its time is over.
class SimulatedCloudFiles final : public CloudFilesPort {
 public:
  struct Pending {
    CloudRequest request;
    Bytes bytes;  // fetch_data: the file as far as it came
    std::vector<std::string> names;
    std::uint64_t come = 0;
    bool done = false, refused = false, retryable = false, cancelled = false, allowed = true;
  };
  std::chrono::milliseconds limit{60'000};  // Windows' 60 s, shorter in tests
  std::function<bool(const ProfilePath&)> foreign = [](const ProfilePath&) { return false; };

  Result<void> register_root(const ProfilePath& root) override {
    if (foreign(root)) return fail(ErrorCode::conflict, "another provider's root is there");
    std::lock_guard lock(mutex_);
    ++registrations;
    registered.insert(root);
    return {};
  }
  Result<void> unregister_root(const ProfilePath& root) override {
    std::lock_guard lock(mutex_);
    registered.erase(root);
    return {};
  }
  Result<void> connect(const ProfilePath& root, CloudCallbacks& callbacks) override {
    std::lock_guard lock(mutex_);
    if (registered.count(root) == 0) return fail(ErrorCode::not_found, "no such root");
    connected[root] = &callbacks;
    return {};
  }
  Result<void> disconnect(const ProfilePath& root) override {
    std::lock_guard lock(mutex_);
    connected.erase(root);
    return {};
  }
  Result<void> transfer_data(CloudRequestId id, std::uint64_t offset, ByteView data) override {
    std::lock_guard lock(mutex_);
    auto* pending = alive(id);
    if (pending == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
    const auto size = pending->request.size_bytes;
    const auto end = offset + data.size();
    if (offset % 4096 != 0 || end > size || (end % 4096 != 0 && end != size))
      return fail(ErrorCode::invalid_argument, "not aligned");
    std::copy(data.begin(), data.end(), pending->bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    pending->come += data.size();
    most_piece = std::max<std::size_t>(most_piece, data.size());
    touch();
    const auto& range = pending->request.range;
    const auto first = range.offset / 4096 * 4096;
    if (first + pending->come >= std::min(size, range.end())) pending->done = true;
    changed_.notify_all();
    return {};
  }
  Result<void> transfer_placeholders(CloudRequestId id, const std::vector<CloudPlaceholder>& items,
                                     bool last) override {
    std::lock_guard lock(mutex_);
    auto* pending = alive(id);
    if (pending == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
    for (const auto& item : items) pending->names.push_back(item.name);
    ++parts;
    touch();
    pending->done = last;
    changed_.notify_all();
    return {};
  }
  Result<void> allow_dehydrate(CloudRequestId id, bool allow) override {
    std::lock_guard lock(mutex_);
    if (auto* pending = alive(id)) pending->allowed = allow, pending->done = true;
    changed_.notify_all();
    return {};
  }
  Result<void> report_progress(CloudRequestId id, std::uint64_t, std::uint64_t) override {
    std::lock_guard lock(mutex_);
    if (alive(id) == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
    ++reports;
    touch();
    return {};
  }
  Result<void> refuse(const CloudRequest& request, ByteRange, bool retryable) override {
    std::lock_guard lock(mutex_);
    if (auto* pending = alive(request.id)) {
      pending->refused = pending->done = true;
      pending->retryable = retryable;
      touch();
    }
    changed_.notify_all();
    return {};
  }
  Result<void> set_pin(const ProfilePath& path, CloudPin pin) override {
    std::lock_guard lock(mutex_);
    pins[path] = pin;
    return {};
  }
  Result<void> hydrate(const ProfilePath& path) override {
    const auto got = ask({CloudRequest::Kind::fetch_data, 0, path, 5000, {0, 5000}, ""});
    return got.done && !got.refused ? Result<void>() : fail(ErrorCode::unavailable, "refused");
  }

  // What a program does: waits for the answer, as Windows makes it wait.
  Pending ask(CloudRequest request, const std::function<void(CloudRequestId)>& meanwhile = {}) {
    CloudCallbacks* callbacks = nullptr;
    {
      std::lock_guard lock(mutex_);
      request.id = ++ids_;
      Pending pending{request, Bytes(static_cast<std::size_t>(request.size_bytes)), {}};
      pending_.emplace(request.id, std::move(pending));
      touch();
      for (const auto& [root, each] : connected)
        if (request.path.is_within(root)) callbacks = each;
    }
    if (callbacks == nullptr) return {};  // "the cloud file provider is not running"
    callbacks->on_request(request);
    if (meanwhile) meanwhile(request.id);
    std::unique_lock lock(mutex_);
    for (;;) {
      auto& pending = pending_.at(request.id);
      if (pending.done || pending.cancelled) break;
      if (changed_.wait_until(lock, last_ + limit) == std::cv_status::timeout &&
          std::chrono::steady_clock::now() >= last_ + limit) {
        ++timeouts;
        break;
      }
    }
    auto result = pending_.at(request.id);
    pending_.erase(request.id);
    return result;
  }
  void cancel(CloudRequestId id, const ProfilePath& path) {
    CloudCallbacks* callbacks = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (const auto found = pending_.find(id); found != pending_.end()) found->second.cancelled = true;
      for (const auto& [root, each] : connected)
        if (path.is_within(root)) callbacks = each;
      changed_.notify_all();
    }
    if (callbacks != nullptr) callbacks->on_cancel(id);
  }

  std::set<ProfilePath> registered;
  std::map<ProfilePath, CloudCallbacks*> connected;
  std::map<ProfilePath, CloudPin> pins;
  int registrations = 0, timeouts = 0, reports = 0, parts = 0;
  std::size_t most_piece = 0;

 private:
  Pending* alive(CloudRequestId id) {
    const auto found = pending_.find(id);
    return found == pending_.end() || found->second.cancelled || found->second.done ? nullptr
                                                                                    : &found->second;
  }
  void touch() { last_ = std::chrono::steady_clock::now(); }  // for all that are pending

  std::mutex mutex_;
  std::condition_variable changed_;
  CloudRequestId ids_ = 0;
  std::map<CloudRequestId, Pending> pending_;
  std::chrono::steady_clock::time_point last_;
};

class Source final : public CloudSource {
 public:
  std::atomic<bool> away{false};
  std::atomic<bool> broken{false};
  std::atomic<int> reads{0}, announced{0};
  std::chrono::milliseconds delay{0};
  std::size_t children = 0;

  Result<std::vector<profile::NamedEntry>> list(const ProfilePath&) override {
    if (away) return fail(ErrorCode::unavailable, "away");
    std::vector<profile::NamedEntry> all(children);
    for (std::size_t i = 0; i < children; ++i) all[i].name = "file" + std::to_string(i);
    return all;
  }
  Result<Bytes> read(const ProfilePath& path, ByteRange range) override {
    ++reads;
    if (delay.count() != 0) std::this_thread::sleep_for(delay);
    if (away) return fail(ErrorCode::unavailable, "away");
    if (broken) return fail(ErrorCode::corrupt, "broken");
    const auto all = content_of(path, range.end());
    return Bytes(all.begin() + static_cast<std::ptrdiff_t>(range.offset), all.end());
  }
  Result<void> announce(const ProfilePath&, const std::vector<profile::NamedEntry>&) override {
    return ++announced, Result<void>();
  }
  Result<void> announce(const ProfilePath&, std::uint64_t, ByteView) override {
    return ++announced, Result<void>();
  }
  bool excludes(const std::string& process) override { return process == "scanner.exe"; }
};

struct Bench {
  explicit Bench(CloudFilesOptions options = quick())
      : files(std::make_unique<CloudFiles>(windows, source, options)) {
    REQUIRE(files->add_root(at("Documents")));
  }
  static CloudFilesOptions quick() {
    CloudFilesOptions options;
    options.pause = 10ms;
    options.patience = 300ms;
    options.piece_bytes = 64 << 10;
    return options;
  }
  SimulatedCloudFiles::Pending fetch(const char* path, std::uint64_t size, ByteRange range,
                                     const char* process = "a.exe") {
    return windows.ask({CloudRequest::Kind::fetch_data, 0, at(path), size, range, process});
  }
  SimulatedCloudFiles windows;
  Source source;
  std::unique_ptr<CloudFiles> files;
};

TEST_CASE("what a program reads comes in aligned pieces, announced before it is there") {
  Bench bench;
  auto random = support::seeded_random();
  for (int round = 0; round < 60; ++round) {
    const auto size = 1 + random() % 300'000;
    const auto offset = random() % size;
    const ByteRange range{offset, 1 + random() % (size - offset)};
    const auto got = bench.fetch("Documents/a", size, range);
    REQUIRE((got.done && !got.refused));
    const auto expected = content_of(at("Documents/a"), size);
    for (auto i = range.offset; i < range.end(); i += 97) REQUIRE(got.bytes[i] == expected[i]);
    REQUIRE(got.bytes[range.end() - 1] == expected[range.end() - 1]);
  }
  CHECK(bench.windows.most_piece <= 64u << 10);
  CHECK(bench.source.announced == bench.source.reads);
  for (int i = 0; i < 200 && bench.files->status().answered < 60; ++i) std::this_thread::sleep_for(5ms);
  CHECK(bench.files->status().answered == 60);
}

TEST_CASE("a directory comes in parts, the last of which says so") {
  Bench bench;
  for (std::size_t children : {0, 1, 256, 1000}) {
    bench.source.children = children;
    bench.windows.parts = 0;
    const auto got =
        bench.windows.ask({CloudRequest::Kind::fetch_placeholders, 0, at("Documents"), 0, {}, "a.exe"});
    CHECK((got.done && !got.refused));
    CHECK(got.names.size() == children);
    CHECK(bench.windows.parts == std::max<int>(1, static_cast<int>((children + 255) / 256)));
  }
}

TEST_CASE("roots that overlap, or hold a hive, are refused, and others' are named") {
  Bench bench;
  for (auto path : {"Documents", "documents/deep", "DOCUMENTS"})
    CHECK(bench.files->add_root(at(path)).error().code == ErrorCode::conflict);
  for (auto path : {"", "AppData", "AppData/Local/Microsoft/windows"})
    CHECK(bench.files->add_root(at(path)).error().code == ErrorCode::invalid_argument);
  bench.windows.foreign = [](const ProfilePath& path) { return path == at("OneDrive"); };
  CHECK(bench.files->add_root(at("OneDrive")).error().code == ErrorCode::conflict);
  CHECK(bench.windows.registered.size() == 1);
  REQUIRE(bench.files->add_root(at("Documents2")));
  REQUIRE(bench.files->remove_root(at("Documents2")));
  CHECK(bench.files->status().roots == 1);
}

TEST_CASE("while the coordinator is away the request is kept alive, and comes when it is back") {
  auto options = Bench::quick();
  options.patience = 10'000ms;
  Bench bench(options);
  bench.windows.limit = 150ms;  // without reports this would be too long
  bench.source.away = true;
  std::thread back([&] {
    std::this_thread::sleep_for(500ms);
    bench.source.away = false;
  });
  const auto got = bench.fetch("Documents/a", 10'000, {0, 10'000});
  back.join();
  CHECK((got.done && !got.refused));
  CHECK(bench.windows.timeouts == 0);
  CHECK(bench.windows.reports > 3);
}

TEST_CASE("what does not come within the patience is refused, to be tried again; what is damaged, for good") {
  Bench bench;
  bench.source.away = true;
  auto got = bench.fetch("Documents/a", 10'000, {0, 10'000});
  CHECK((got.refused && got.retryable));
  bench.source.away = false;
  bench.source.broken = true;
  got = bench.fetch("Documents/a", 10'000, {0, 10'000});
  CHECK((got.refused && !got.retryable));
}

TEST_CASE("slow pieces keep a large request alive") {
  Bench bench;
  bench.windows.limit = 200ms;
  bench.source.delay = 50ms;
  const auto got = bench.fetch("Documents/a", 640 << 10, {0, 640 << 10});  // ten pieces: half a second
  CHECK((got.done && !got.refused));
  CHECK(bench.windows.timeouts == 0);
}

TEST_CASE("a request that is cancelled ends, waiting or running, and nothing more is read for it") {
  auto options = Bench::quick();
  options.threads = 1;
  Bench bench(options);
  bench.source.delay = 30ms;
  const auto cancel_soon = [&](CloudRequestId id) {
    std::this_thread::sleep_for(45ms);
    bench.windows.cancel(id, at("Documents/a"));
  };
  const auto got = bench.windows.ask(
      {CloudRequest::Kind::fetch_data, 0, at("Documents/a"), 64 << 20, {0, 64 << 20}, ""}, cancel_soon);
  CHECK((got.cancelled && !got.done));
  for (int i = 0; i < 200 && bench.files->status().running != 0; ++i) std::this_thread::sleep_for(5ms);
  CHECK(bench.files->status().cancelled == 1);
  const int reads = bench.source.reads;
  CHECK(reads < 10);
  bench.files->on_cancel(12345);  // of nothing
  CHECK(bench.fetch("Documents/b", 100, {0, 100}).done);
}

TEST_CASE("too many requests at once are refused, to be tried again") {
  auto options = Bench::quick();
  options.threads = 1;
  options.most_waiting = 2;
  Bench bench(options);
  bench.source.delay = 100ms;
  std::atomic<int> refused{0}, done{0};
  std::vector<std::thread> programs;
  for (int i = 0; i < 8; ++i)
    programs.emplace_back([&] {
      const auto got = bench.fetch("Documents/a", 100, {0, 100});
      (got.refused ? refused : done) += got.refused && !got.retryable ? 100 : 1;
    });
  for (auto& program : programs) program.join();
  CHECK(refused + done == 8);
  CHECK(refused >= 4);
}

TEST_CASE("excluded processes load nothing; dehydration is never allowed; pinned files are loaded") {
  Bench bench;
  const auto got = bench.fetch("Documents/a", 100, {0, 100}, "scanner.exe");
  CHECK((got.refused && !got.retryable));
  CHECK(bench.source.reads == 0);
  const auto dehydrate =
      bench.windows.ask({CloudRequest::Kind::dehydrate, 0, at("Documents/a"), 100, {0, 100}, ""});
  CHECK((dehydrate.done && !dehydrate.allowed));
  REQUIRE(bench.files->set_pin(at("Documents/a"), CloudPin::pinned));
  CHECK(bench.windows.pins[at("Documents/a")] == CloudPin::pinned);
  CHECK(bench.source.reads == 1);
  REQUIRE(bench.files->set_pin(at("Documents/b"), CloudPin::unpinned));
  CHECK(bench.source.reads == 1);
}

TEST_CASE("a provider that ends refuses what waits, and the next one finds its roots") {
  Bench bench;
  bench.source.delay = 100ms;
  SimulatedCloudFiles::Pending got;
  std::thread program([&] { got = bench.fetch("Documents/a", 10 << 20, {0, 10 << 20}); });
  std::this_thread::sleep_for(50ms);
  bench.files->stop();
  program.join();
  CHECK((got.refused && got.retryable));
  CHECK(bench.windows.connected.empty());
  CHECK(bench.windows.registered.size() == 1);
  CHECK_FALSE(bench.fetch("Documents/a", 100, {0, 100}).done);  // nobody is there
  bench.source.delay = 0ms;
  bench.files = std::make_unique<CloudFiles>(bench.windows, bench.source, Bench::quick());
  REQUIRE(bench.files->add_root(at("Documents")));
  CHECK(bench.windows.registrations == 2);
  CHECK(bench.fetch("Documents/a", 100, {0, 100}).done);
}

}  // namespace
}  // namespace roamstead::agent
