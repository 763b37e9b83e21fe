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
  Result<void> complete_directory(CloudRequestId id) override {
    std::lock_guard lock(mutex_);
    auto* pending = alive(id);
    if (pending == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
    touch();
    pending->done = true;
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
  Result<void> convert(FileNumber, bool, const std::string&) override { return {}; }
  Result<void> hydrate(FileNumber file) override {
    const auto got = ask(request(at("Documents/a"), 5000, {0, 5000}, "", file));
    return got.done && !got.refused ? Result<void>() : fail(ErrorCode::unavailable, "refused");
  }
  Result<PlaceholderState> state(FileNumber file) override {
    std::lock_guard lock(mutex_);
    return states[file];
  }
  // Asks before, as Windows may.
  Result<void> dehydrate(FileNumber file) override {
    const auto got = ask(request(at("Documents/a"), 5000, {}, "", file, CloudRequest::Kind::dehydrate));
    return got.done && got.allowed ? Result<void>() : fail(ErrorCode::busy, "not allowed");
  }
  static CloudRequest request(const ProfilePath& path, std::uint64_t size, ByteRange range,
                              const char* process, FileNumber file = 40,
                              CloudRequest::Kind kind = CloudRequest::Kind::fetch_data) {
    CloudRequest request;
    request.kind = kind;
    request.item = {file, path};
    request.identity = "session";
    request.size_bytes = size;
    request.range = range;
    request.process = process;
    return request;
  }

  // What a program does: waits for the answer, as Windows makes it wait.
  Pending ask(CloudRequest request, const std::function<void(CloudRequestId)>& meanwhile = {}) {
    CloudCallbacks* callbacks = nullptr;
    {
      std::lock_guard lock(mutex_);
      request.id = ++ids_;
      Pending pending{request, Bytes(static_cast<std::size_t>(request.size_bytes))};
      pending_.emplace(request.id, std::move(pending));
      touch();
      for (const auto& [root, each] : connected)
        if (request.item.path.is_within(root)) callbacks = each;
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
  std::map<FileNumber, PlaceholderState> states;
  int registrations = 0, timeouts = 0, reports = 0;
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
  std::atomic<bool> away{false}, broken{false}, may_release{true};
  std::atomic<int> reads{0}, loaded{0}, populated{0}, releases{0}, kept{0}, gone{0}, closes{0};
  std::chrono::milliseconds delay{0};

  Result<void> populate(const CloudItem&) override {
    if (away) return fail(ErrorCode::unavailable, "away");
    return ++populated, Result<void>();
  }
  Result<void> read(const CloudItem& item, ByteRange range, const Give& give) override {
    ++reads;
    if (delay.count() != 0) std::this_thread::sleep_for(delay);
    if (away) return fail(ErrorCode::unavailable, "away");
    if (broken) return fail(ErrorCode::corrupt, "broken");
    const auto all = content_of(item.path, range.end());
    RS_CHECK(give(range.offset, ByteView(all).subspan(range.offset)));
    return ++loaded, Result<void>();
  }
  Result<bool> release(const CloudItem&) override { return ++releases, may_release.load(); }
  Result<void> released(const CloudItem&, bool is_gone) override {
    return ++(is_gone ? gone : kept), Result<void>();
  }
  Result<void> closed(const CloudItem&) override { return ++closes, Result<void>(); }
  bool excludes(const std::string& process) override { return process == "scanner.exe"; }
};

struct Bench {
  explicit Bench(CloudFilesOptions options = quick())
      : files(std::make_unique<CloudFiles>(windows, source, options)) {
    REQUIRE(files->add_root(at("Documents")));
  }
  static CloudFilesOptions quick() {
    CloudFilesOptions options;
    options.identity = "session";
    options.pause = 10ms;
    options.patience = 300ms;
    options.piece_bytes = 64 << 10;
    return options;
  }
  SimulatedCloudFiles::Pending fetch(const char* path, std::uint64_t size, ByteRange range,
                                     const char* process = "a.exe") {
    return windows.ask(SimulatedCloudFiles::request(at(path), size, range, process));
  }
  SimulatedCloudFiles windows;
  Source source;
  std::unique_ptr<CloudFiles> files;
};

TEST_CASE("what a program reads comes in aligned pieces, and counts as loaded once Windows has it") {
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
  // The program goes on before its provider has heard that it may.
  for (int i = 0; i < 2000 && bench.files->status().answered < 60; ++i) std::this_thread::sleep_for(5ms);
  CHECK(bench.files->status().answered == 60);
  CHECK(bench.source.loaded == bench.source.reads);
}

TEST_CASE("a directory is complete once it is populated, and is asked for again where that failed") {
  Bench bench;
  const auto ask = [&](const char* identity = "session") {
    auto request = SimulatedCloudFiles::request(at("Documents/d"), 0, {}, "a.exe", 41,
                                                CloudRequest::Kind::fetch_placeholders);
    request.identity = identity;
    return bench.windows.ask(request);
  };
  auto got = ask();
  CHECK((got.done && !got.refused));
  CHECK(bench.source.populated == 1);
  bench.source.away = true;
  got = ask();
  CHECK((got.refused && got.retryable));
  bench.source.away = false;
  got = ask("another session");
  CHECK((got.refused && !got.retryable));
  CHECK(bench.source.populated == 1);
}

TEST_CASE(
    "placeholders of another session are not served, and roots cover what is below them in the version") {
  Bench bench;
  auto request = SimulatedCloudFiles::request(at("Documents/a"), 100, {0, 100}, "a.exe");
  request.identity = "";
  const auto got = bench.windows.ask(request);
  CHECK((got.refused && !got.retryable));
  CHECK(bench.source.reads == 0);
  REQUIRE(bench.files->add_root(at("Renamed"), at("Pictures")));
  CHECK(bench.files->covers(at("documents/deep/a")));
  CHECK(bench.files->covers(at("Pictures/a")));
  for (const auto* path : {"Documents", "Renamed/a", "Documents2/a", ""})
    CHECK_FALSE(bench.files->covers(at(path)));
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
      SimulatedCloudFiles::request(at("Documents/a"), 64 << 20, {0, 64 << 20}, ""), cancel_soon);
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

TEST_CASE("excluded processes load nothing") {
  Bench bench;
  const auto got = bench.fetch("Documents/a", 100, {0, 100}, "scanner.exe");
  CHECK((got.refused && !got.retryable));
  CHECK(bench.source.reads == 0);
}

template <class Condition>
bool within_seconds(const Condition& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) std::this_thread::sleep_for(5ms);
  return condition();
}

TEST_CASE("a file is dehydrated only where it is in sync, not pinned, and may go") {
  Bench bench;
  const auto ask = [&](const PlaceholderState& state) {
    bench.windows.states[40] = state;
    return bench.windows
        .ask(SimulatedCloudFiles::request(at("Documents/a"), 5000, {}, "", 40, CloudRequest::Kind::dehydrate))
        .allowed;
  };
  CHECK(ask({true, true, true, CloudPin::unspecified}));
  CHECK(ask({true, true, true, CloudPin::unpinned}));
  CHECK_FALSE(ask({true, true, false, CloudPin::unpinned}));
  CHECK_FALSE(ask({true, true, true, CloudPin::pinned}));
  CHECK(bench.source.releases == 2);
  bench.source.may_release = false;
  CHECK_FALSE(ask({true, true, true, CloudPin::unspecified}));
}

TEST_CASE("what the user pins is loaded, what he unpins goes; who closes a file is told of") {
  Bench bench;
  auto note = SimulatedCloudFiles::request(at("Documents/a"), 0, {}, "", 40, CloudRequest::Kind::attributes);
  bench.windows.states[40] = {true, false, true, CloudPin::pinned};
  bench.files->on_request(note);
  REQUIRE(within_seconds([&] { return bench.source.reads == 1; }));
  bench.windows.states[40] = {true, true, true, CloudPin::unpinned};
  bench.files->on_request(note);
  REQUIRE(within_seconds([&] { return bench.source.gone == 1; }));
  CHECK(bench.source.releases == 2);  // by us, and when Windows asked
  bench.source.may_release = false;
  bench.files->on_request(note);
  bench.windows.states[40] = {true, true, false, CloudPin::unpinned};
  bench.files->on_request(note);
  note.kind = CloudRequest::Kind::closed;
  bench.files->on_request(note);
  REQUIRE(within_seconds([&] { return bench.source.closes == 1; }));
  CHECK(bench.source.gone == 1);
  CHECK(bench.source.kept == 0);
  note.kind = CloudRequest::Kind::dehydrated;
  bench.files->on_request(note);
  REQUIRE(within_seconds([&] { return bench.source.kept == 1; }));
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
