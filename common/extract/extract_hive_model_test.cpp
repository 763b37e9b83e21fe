// Random programs at work on a hive that an agent loads piece by piece, extracted snapshot by snapshot: what
// the batches make of the version's keys must be the version's keys with exactly the programs' changes.
#include <doctest/doctest.h>

#include <algorithm>

#include "common/base/text.h"
#include "common/extract/test_agent.h"
#include "common/extract/test_hives.h"
#include "common/registry/test_hive.h"
#include "tests/support/seed.h"

namespace roamstead::extract {
namespace {

constexpr const char* kUser = "NTUSER.DAT";
constexpr const char* kJournal = "ProgramData/Roamstead/provenance.journal";

std::string upcased(std::string_view text) { return to_wtf8(upcase_key(text)); }

std::string join(const std::string& key, const std::string& name) {
  return key.empty() ? name : key + "\\" + name;
}

std::string parent_of(const std::string& key) {
  const auto end = key.rfind('\\');
  return end == std::string::npos ? "" : key.substr(0, end);
}

Bytes noise(std::mt19937_64& random) {
  static constexpr std::size_t kSizes[] = {0, 2, 4, 5, 100, 4096, 4097, 20'000};
  Bytes bytes(kSizes[random() % std::size(kSizes)]);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::string some_name(std::mt19937_64& random) {
  static const char* const kNames[] = {"a", "B", "key", "Ünï", "файл", "with space"};
  return kNames[random() % 6] + std::to_string(random() % 12);
}

TestKeys random_version(std::mt19937_64& random) {
  auto version = TestKeys::empty();
  std::vector<std::string> paths = {""};
  version.put("").entry.security = registry::test::descriptor(1);
  for (int i = 0; i < 120; ++i) {
    const auto path = join(paths[random() % paths.size()], some_name(random));
    if (version.has(path)) continue;
    paths.push_back(path);
    auto& key = version.put(path);
    key.entry.security = registry::test::descriptor(static_cast<unsigned>(random() % 50));
    key.entry.written_100ns = random() % 3 == 0 ? 0 : registry::test::kTime;
    if (random() % 6 == 0) key.entry.class_name = to_bytes(std::as_bytes(std::span(u"class", 5)));
    for (auto values = random() % 4; values > 0; --values)
      version.set(path, some_name(random), static_cast<std::uint32_t>(random() % 12), noise(random));
  }
  return version;
}

// Does everything twice: to the live hive, and to the keys it expects the profile to have.
class Worker {
 public:
  Worker(TestHive& hive, const TestKeys& version, std::mt19937_64& random)
      : expected(version), hive_(hive), version_(version), random_(random) {}

  void step() {
    live_ = hive_.live_keys();
    switch (below(8)) {
      case 0:
      case 1:
        return create_key();
      case 2:
      case 3:
      case 4:
        return set_value();
      case 5:
        return remove_value();
      case 6:
        return remove_key();
      case 7:
        return secure();
    }
  }
  // What was extracted: what was in the live hive then is known to have been sent.
  void extracted() {
    sent_ = hive_.live_keys();
    removed_.clear();
  }
  std::string any_key(const TestKeys& keys) {
    return std::next(keys.keys().begin(), static_cast<std::ptrdiff_t>(below(keys.keys().size())))
        ->second.path.text();
  }

  TestKeys expected;

 private:
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }

  // Would the tree before have it for certain?
  bool known(const std::string& key) const {
    return sent_.has(key) || hive_.complete(key) || (!key.empty() && hive_.complete(parent_of(key))) ||
           !version_.has(key);
  }

  void expect_key(const std::string& key) {
    if (expected.has(key)) return;
    const auto now = hive_.live_keys();
    expected.put(key).entry = now.at(key).entry;
  }

  void create_key() {
    const auto key = join(any_key(live_), some_name(random_));
    // Deleted and made again between two snapshots, nobody sees that it was gone.
    if (live_.has(key) || removed_.count(upcased(key)) != 0) return;
    set(key);
  }
  void set_value() { set(any_key(live_)); }
  void set(const std::string& key) {
    const auto name = below(6) == 0 ? "" : some_name(random_);
    const auto type = static_cast<std::uint32_t>(below(12));
    const auto data = noise(random_);
    hive_.set(key, name, data, type);
    expect_key(key);
    expected.set(key, name, type, data);
  }

  void remove_value() {
    const auto key = any_key(live_);
    const auto& values = live_.at(key).values;
    if (values.empty()) return;
    const auto& [upcased_name, value] =
        *std::next(values.begin(), static_cast<std::ptrdiff_t>(below(values.size())));
    const bool in_version = version_.has(key) && version_.at(key).values.count(upcased_name) != 0;
    const bool was_sent = sent_.has(key) && sent_.at(key).values.count(upcased_name) != 0;
    // A value made over one that was not loaded, and gone again before anything was sent, was never there.
    if (in_version && !was_sent && !hive_.complete(key)) return;
    hive_.remove(key, value.name);
    expected.put(key).values.erase(upcased_name);
  }

  void remove_key() {
    const auto key = any_key(live_);
    if (key.empty() || !known(key) || below(3) != 0) return;
    hive_.remove(key);
    expected.erase(key);
    removed_.insert(upcased(key));
  }

  void secure() {
    const auto key = any_key(live_);
    if (!known(key)) return;
    hive_.secure(key, next_control_++);
    expect_key(key);
    expected.put(key).entry = hive_.live_keys().at(key).entry;
  }

  TestHive& hive_;
  const TestKeys& version_;
  std::mt19937_64& random_;
  TestKeys live_, sent_;
  std::set<std::string> removed_;  // since the last extraction
  unsigned next_control_ = 100;
};

void run_session(std::mt19937_64& random, bool lazy) {
  const auto version = random_version(random);
  TestTree base;
  base.make_hive(kUser, version);
  TestDesktop desktop;
  TestAgent agent(desktop, base);
  agent.populate("");
  agent.flush_tags();
  TestHive hive(desktop, kUser, version,
                base_hive_path(kJournal, agent.session(), profile::ProfilePath::parse(kUser).value()));
  Worker worker(hive, version, random);
  TestTree tree = base;
  Guid below;
  if (!lazy) hive.load("", profile::KeyScope::subtree);
  hive.load_base();
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    for (auto steps = random() % 14; steps > 0; --steps) {
      if (lazy && random() % 4 == 0) {
        hive.load(worker.any_key(version),
                  random() % 4 == 0 ? profile::KeyScope::subtree : profile::KeyScope::key);
        hive.load_base();
      } else {
        worker.step();
      }
    }
    // A snapshot between the two halves of a load.
    if (lazy && random() % 3 == 0) hive.load(worker.any_key(version), profile::KeyScope::key);
    hive.save(random() % 2 == 0);
    const auto frozen = desktop.freeze();
    hive.load_base();
    if (random() % 5 == 0) continue;  // the next batch is the union
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    auto extraction = desktop.extract(request);
    if (random() % 6 == 0) continue;  // killed before it was queued
    below = frozen.frozen_id;
    CAPTURE(describe(extraction->batch()));
    CHECK(extraction->batch().held_back.empty());
    tree.apply(extraction->batch(), extraction->content());
    worker.extracted();
    REQUIRE(difference(worker.expected, tree.at(kUser).keys) == "");
    extraction.reset();
    if (random() % 3 == 0) desktop.merge(below);
  }
}

TEST_CASE("random work on a hive that is loaded piece by piece changes the version by exactly that work") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  for (int session = 0; session < 6; ++session) run_session(random, true);
}

TEST_CASE("random work on a hive that is loaded whole") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  for (int session = 0; session < 2; ++session) run_session(random, false);
}

}  // namespace
}  // namespace roamstead::extract
