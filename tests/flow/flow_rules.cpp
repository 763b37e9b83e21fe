#include "tests/flow/flow_rules.h"

#include <fmt/format.h>

#include <set>

#include "tests/flow/flow_coordinator.h"
#include "tests/flow/flow_desktop.h"

namespace roamstead::flow {
namespace {

constexpr const char* kProfile = "alice";
constexpr std::size_t kLoadedAhead = 300'000, kOnDemand = 500'000;

constexpr const char* kPoolRules = R"(
[[rule]]
exclude = ["Cache", "**/*.tmp"]
[[rule]]
at-logout = "Mail"
[[rule]]
max-size = "Documents/**"
size = "100KiB"
[[rule]]
preload = "Templates"
[[rule]]
on-demand = "Archive"
[[rule]]
local-only = "Machine"
)";
constexpr const char* kOwnRules = R"(
[[rule]]
include = "Cache/keep"
)";

Result<void> expect(bool fine, const std::string& what) {
  return fine ? Result<void>() : fail(ErrorCode::conflict, "not so: " + what);
}

Bytes some_bytes(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>((i * 31 + seed + i / 4096) % 255 + 1);
  return bytes;
}

class RulesFlow {
 public:
  explicit RulesFlow(std::string directory) : directory_(std::move(directory)) {}

  Result<void> run() {
    RS_CHECK_CTX("preparation", prepare());
    RS_CHECK_CTX("first desktop", first_desktop());
    RS_CHECK_CTX("second desktop", second_desktop());
    RS_CHECK_CTX("first desktop again", first_desktop_again());
    a_.reset();
    b_.reset();
    RS_TRY(const auto report, coordinator_->finish());
    return expect(report.problems.empty(), "the repository is sound");
  }

 private:
  Result<void> prepare() {
    ProfileModel model;
    profile::Metadata metadata{
        profile::kAttributeArchive, 131'000'000'000'000'000, 131'000'000'000'000'000, {}};
    const auto add = [&](const char* path, std::size_t size) {
      auto& item = model.add_file(path, metadata, some_bytes(size, 1));
      (void)item;
    };
    add("Cache/old", 5000);
    add("Cache/keep/settings", 500);
    add("Documents/a", 4000);
    add("Documents/b.tmp", 300);
    add("Mail/box", 50'000);
    add("Templates/t", kLoadedAhead);
    add("Archive/old", kOnDemand);
    const auto golden = directory_ + "/golden.vhdx";
    RS_CHECK(make_golden_disk(golden, 256u << 20, vdisk::Format::vhdx));
    for (auto* name : {"a", "b"})
      RS_CHECK(vdisk::create_child(os::real_file_system(), golden, directory_ + "/" + name + ".vhdx"));
    RS_TRY(coordinator_, FlowCoordinator::start(directory_));
    RS_CHECK(coordinator_->import(kProfile, model).map([](const auto&) {}));
    RS_CHECK(coordinator_->set_rules(kProfile, kPoolRules, kOwnRules));
    RS_TRY(const auto first, coordinator_->enroll("desk-a", kProfile));
    RS_TRY(const auto second, coordinator_->enroll("desk-b", kProfile));
    RS_TRY(a_, FlowDesktop::power_on(directory_ + "/a.vhdx", first));
    RS_TRY(b_, FlowDesktop::power_on(directory_ + "/b.vhdx", second));
    return {};
  }

  static Result<std::set<std::string>> names(FlowDesktop& desktop, const std::string& path) {
    RS_TRY(const auto items, desktop.files().list(path));
    std::set<std::string> found;
    for (const auto& item : items) found.insert(item.name);
    return found;
  }
  static Result<void> write(FlowDesktop& desktop, const std::string& path, ByteView bytes) {
    if (!desktop.files().stat(path)) RS_CHECK(desktop.files().make_file(path));
    return desktop.files().write(path, "", 0, bytes);
  }
  // As the newest version has it; "" when it has not.
  Result<Bytes> saved(const std::string& path) {
    RS_TRY(const auto info, coordinator_->repository().find_profile(kProfile));
    RS_TRY(const auto tree, coordinator_->repository().tree(info.id, info.head));
    RS_TRY(const auto where, profile::ProfilePath::parse(path));
    const auto entry = tree->lookup(where);
    if (!entry) return Bytes();
    Bytes bytes(static_cast<std::size_t>(entry->size_bytes));
    RS_CHECK(tree->read(where, "", 0, bytes));
    return bytes;
  }
  Result<void> expect_saved(const std::string& path, const Bytes& bytes) {
    RS_TRY(const auto found, saved(path));
    return expect(found == bytes,
                  fmt::format("{} is saved with {} bytes (it has {})", path, bytes.size(), found.size()));
  }

  Result<void> first_desktop() {
    RS_CHECK(a_->log_in(kProfile));
    RS_TRY(const auto status, a_->session().status());
    RS_CHECK(expect(status.rules == 8 && status.rules_hash.size() == 64, "the session has 8 rules"));
    RS_CHECK(
        expect(status.preloaded.files == 1 && status.fetched_bytes >= kLoadedAhead, "Templates are there"));
    RS_TRY(const auto top, names(*a_, ""));
    RS_CHECK(expect(top == std::set<std::string>{"Archive", "Cache", "Documents", "Mail", "Templates"},
                    "the top level"));
    RS_TRY(const auto cache, names(*a_, "Cache"));
    RS_CHECK(expect(cache == std::set<std::string>{"keep"}, "of Cache only what is included is shown"));
    RS_TRY(const auto documents, names(*a_, "Documents"));
    RS_CHECK(expect(documents == std::set<std::string>{"a"}, "no *.tmp is shown"));
    RS_CHECK(a_->fill(agent::FillLevel::all));
    RS_TRY(const auto filled, a_->session().status());
    RS_CHECK(
        expect(filled.fetched_bytes < kLoadedAhead + kOnDemand, "Archive is not filled in the background"));

    RS_CHECK(write(*a_, "Cache/new", some_bytes(9000, 2)));
    RS_CHECK(write(*a_, "Cache/keep/settings", some_bytes(700, 3)));
    RS_CHECK(write(*a_, "Documents/a", some_bytes(4500, 4)));
    RS_CHECK(write(*a_, "Documents/c.tmp", some_bytes(100, 5)));
    RS_CHECK(write(*a_, "Documents/large", some_bytes(200'000, 6)));
    RS_CHECK(write(*a_, "Mail/box", some_bytes(60'000, 7)));
    RS_CHECK(a_->files().make_directory("Machine"));
    RS_CHECK(write(*a_, "Machine/id", some_bytes(50, 8)));
    RS_TRY(const auto taken, a_->snapshot());
    RS_CHECK(expect(taken.held_back == 1, "one file is held back as too large"));
    RS_CHECK(expect_saved("Documents/a", some_bytes(4500, 4)));
    RS_CHECK(expect_saved("Cache/keep/settings", some_bytes(700, 3)));
    RS_CHECK(expect_saved("Mail/box", some_bytes(50'000, 1)));  // not yet
    for (auto* path : {"Cache/new", "Documents/c.tmp", "Documents/large", "Machine/id"})
      RS_CHECK(expect_saved(path, {}));
    RS_CHECK(expect_saved("Cache/old", some_bytes(5000, 1)));  // a rule deletes nothing
    RS_CHECK(write(*a_, "Mail/box", some_bytes(100, 9)));
    RS_CHECK(a_->log_out().map([](const auto&) {}));
    auto mail = some_bytes(60'000, 7);
    const auto head = some_bytes(100, 9);
    std::copy(head.begin(), head.end(), mail.begin());
    RS_CHECK(expect_saved("Mail/box", mail));
    fmt::print("A: left out, held back, kept for log-out as the rules say\n");
    return {};
  }

  Result<void> second_desktop() {
    RS_CHECK(b_->log_in(kProfile));
    RS_TRY(const auto top, names(*b_, ""));
    RS_CHECK(expect(!top.contains("Machine"), "what A keeps to itself is not on B"));
    RS_TRY(const auto mail, b_->files().read_all("Mail/box", ""));
    RS_CHECK(expect(mail.size() == 60'000, "B has the mail as A logged out"));
    RS_TRY(const auto archive, b_->files().read_all("Archive/old", ""));
    RS_CHECK(
        expect(archive == some_bytes(kOnDemand, 1), "what is loaded on demand is there when it is touched"));
    RS_TRY(const auto report, b_->log_out());
    RS_CHECK(expect(report.records == 0, "who only looks saves nothing"));
    fmt::print("B: shown and loaded as the rules say\n");
    return {};
  }

  Result<void> first_desktop_again() {
    RS_CHECK(coordinator_->set_rules(kProfile, "[[rule]]\nlocal-only = \"Machine\"\n", ""));
    RS_CHECK(a_->log_in(kProfile));
    RS_TRY(const auto id, a_->files().read_all("Machine/id", ""));
    RS_CHECK(expect(id == some_bytes(50, 8), "what is local is there again"));
    RS_TRY(const auto cache, names(*a_, "Cache"));
    RS_CHECK(expect(cache == std::set<std::string>{"keep", "old"},
                    "without its rule Cache is back as it was saved"));
    RS_TRY(const auto report, a_->log_out());
    RS_CHECK(expect(report.records == 0, "other rules are no change"));
    fmt::print("A again: local items are there, and what rules no longer exclude\n");
    return {};
  }

  const std::string directory_;
  std::unique_ptr<FlowCoordinator> coordinator_;
  std::unique_ptr<FlowDesktop> a_, b_;
};

}  // namespace

Result<void> run_rules_flow(const std::string& directory) { return RulesFlow(directory).run(); }

}  // namespace roamstead::flow
