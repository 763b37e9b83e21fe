// Random programs at work on a real NTFS volume, extracted snapshot by snapshot; what the batches make of a
// tree in memory must be what the programs made of theirs.
#include <doctest/doctest.h>

#include "common/extract/test_worker.h"
#include "tests/support/seed.h"

namespace roamstead::extract {
namespace {

TEST_CASE("random changes on a volume without an agent are extracted to the same tree") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  TestDesktop desktop;
  DirectPrograms programs(desktop);
  TestTree expected, tree;
  Worker worker(programs, expected, random);
  Guid below;
  std::uint64_t content_bytes = 0;
  for (int round = 0; round < 24; ++round) {
    CAPTURE(round);
    for (auto steps = random() % 25; steps > 0; --steps) worker.step();
    expected.settle();
    const auto frozen = desktop.freeze();
    if (random() % 5 == 0) continue;  // the next batch is the union
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below.is_zero() ? desktop.disk().layers().back().id : below;
    request.profile_root = kTestRoot;
    auto extraction = desktop.extract(request);
    if (random() % 6 == 0) continue;  // killed before it was queued: the map is ahead of the batches
    below = frozen.frozen_id;
    CAPTURE(describe(extraction->batch()));
    CHECK(extraction->batch().held_back.empty());
    tree.apply(extraction->batch(), extraction->content());
    REQUIRE(difference(expected, tree) == "");
    content_bytes += extraction->batch().content_bytes();
    auto actual = desktop.read_profile(frozen.frozen_path);
    REQUIRE(difference(expected, actual) == "");  // the test itself is sound
    extraction.reset();
    if (random() % 3 == 0) desktop.merge(below);
  }
  CHECK(content_bytes > 0);
  CHECK(desktop.went_on() > 0);
}

constexpr vdisk::Format kFormats[] = {vdisk::Format::vhdx, vdisk::Format::vhd, vdisk::Format::qcow2};

void run_ruled_session(std::mt19937_64& random) {
  auto base = random_base(random);
  fill_zeros(base.root());
  TestDesktop desktop;
  TestAgent agent(desktop, base);
  const auto rules = random_rules(random, base);
  INFO(rules.canonical());
  const auto text = rules.canonical();
  desktop.volume().write("ProgramData/Roamstead/rules", 0,
                         {reinterpret_cast<const std::byte*>(text.data()), text.size()});
  TestTree expected = base, tree = base;
  LoadingPrograms programs(agent, expected);
  Worker worker(programs, expected, random);
  // As agents have it: folders are not renamed to where other rules hold for what is in them.
  worker.may_rename = [&](const std::string& from, const std::string& to) {
    return !expected.at(from).is_directory() || rules.same_below(from, to);
  };
  Guid below;
  bool logged_out = false;
  for (int round = 0; round < 14; ++round) {
    CAPTURE(round);
    for (auto steps = random() % 20; steps > 0; --steps) worker.step();
    expected.settle();
    if (random() % 2 == 0) agent.flush_tags();
    if (round > 4 && random() % 6 == 0) {  // from here on nothing waits any more
      const auto marker = logout_marker(agent.session());
      desktop.volume().write("ProgramData/Roamstead/log-out", 0,
                             {reinterpret_cast<const std::byte*>(marker.data()), marker.size()});
      logged_out = true;
    }
    const auto frozen = desktop.freeze();
    if (random() % 5 == 0) continue;
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    auto extraction = desktop.extract(request);
    if (random() % 6 == 0) continue;
    below = frozen.frozen_id;
    CAPTURE(logged_out);
    CAPTURE(describe(extraction->batch()));
    CHECK(extraction->batch().held_back.empty());
    tree.apply(extraction->batch(), extraction->content());
    const Selection selection(rules, logged_out);
    const auto should = selected(expected, selection), is = selected(tree, selection);
    for (const auto& [path, what] : should) {
      CAPTURE(path);
      const auto found = is.find(path);
      REQUIRE((found == is.end() ? "missing" : found->second) == what);
    }
    for (const auto& [path, what] : is) {
      CAPTURE(path);
      REQUIRE(should.count(path) == 1);
    }
    extraction.reset();
    if (random() % 3 == 0) desktop.merge(below);
  }
}

struct SessionOptions {
  vdisk::Format format = vdisk::Format::vhdx;
  int rounds = 16;
  std::size_t steps = 20;
  bool dehydrate = false;  // files become placeholders of Cloud Files, and are dehydrated again
  bool lose_tags = false;  // kills: what was not flushed is lost, and the agent starts again
};

void run_session(std::mt19937_64& random, const SessionOptions& options) {
  CAPTURE(vdisk::to_string(options.format));
  auto base = random_base(random);
  TestDesktop desktop({}, 48u << 20, options.format);
  TestAgent agent(desktop, base);
  TestTree expected = base, tree = base;
  Worker worker(agent, expected, random);
  Guid below;
  for (int round = 0; round < options.rounds; ++round) {
    CAPTURE(round);
    const bool idle = random() % 4 == 0;  // only loading
    try {
      if (options.lose_tags && random() % 2 == 0) agent.kill_before_name(static_cast<int>(random() % 10));
      for (auto steps = random() % options.steps; steps > 0; --steps) {
        if (idle || random() % 2 == 0) {
          const auto path = worker.random_path(random() % 8 == 0);
          if (path.empty()) continue;
          if (expected.at(path).is_directory())
            agent.populate(path);
          else if (options.dehydrate && random() % 3 == 0)
            agent.dehydrate(path);
          else
            agent.load(path, kStreams[random() % 2], random() % 20'000, random() % 30'000);
          if (random() % 3 == 0) agent.flush_tags();
        } else {
          worker.step();
        }
      }
    } catch (const TestAgent::Killed&) {
    }
    expected.settle();
    if (random() % 2 == 0) agent.flush_tags();
    const auto frozen = desktop.freeze();
    if (options.lose_tags && random() % 2 == 0)
      agent.restart();
    else
      agent.kill_before_name(-1);
    if (random() % 5 == 0) continue;
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    auto extraction = desktop.extract(request);
    if (random() % 6 == 0) continue;
    below = frozen.frozen_id;
    CAPTURE(describe(extraction->batch()));
    CHECK(extraction->batch().held_back.empty());
    tree.apply(extraction->batch(), extraction->content());
    REQUIRE(difference(expected, tree) == "");
    extraction.reset();
    if (random() % 3 == 0) desktop.merge(below);
  }
  CHECK(desktop.went_on() > 0);
  CHECK(desktop.journals_continued() > 0);
}

TEST_CASE("random work on a lazily loaded profile gives the base version exactly the programs' changes") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  for (auto format : kFormats) run_session(random, {format});
}

TEST_CASE("with random rules, what they select is in the tree exactly as on the desktop") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  for (int session = 0; session < 4; ++session) run_ruled_session(random);
}

TEST_CASE("an agent killed at any moment costs no content and adds no change") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  SessionOptions options;
  options.lose_tags = true;
  for (auto format : kFormats) {
    options.format = format;
    run_session(random, options);
  }
}

TEST_CASE("placeholders of Cloud Files, loaded and dehydrated, change nothing but what programs changed") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  for (const bool lose_tags : {false, true}) {
    SessionOptions options;
    options.dehydrate = true;
    options.lose_tags = lose_tags;
    run_session(random, options);
  }
}

TEST_CASE("loading everything and changing nothing is no record at all") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  auto base = random_base(random);
  TestDesktop desktop;
  TestAgent agent(desktop, base);
  Worker worker(agent, base, random);
  Guid below;
  for (int part = 0; part < 4; ++part) {
    for (const auto& [path, text] : base.describe()) {
      if (random() % 2 == 0 && part < 3) continue;
      if (base.at(path).is_directory()) {
        agent.populate(path);
      } else {
        for (const auto& stream : kStreams) agent.load(path, stream, 0, 1 << 20);
      }
    }
    if (part % 2 == 1) agent.flush_tags();
    const auto frozen = desktop.freeze();
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    auto extraction = desktop.extract(request);
    below = frozen.frozen_id;
    // Tags still in memory make what was loaded look like content: it is sent in vain, and changes nothing.
    if (part % 2 == 1) CHECK(describe(extraction->batch()) == "");
    TestTree tree = base;
    tree.apply(extraction->batch(), extraction->content());
    CHECK(difference(base, tree) == "");
  }
}

TEST_CASE("what was sent since its tags were not recorded yet, and is dehydrated then, stays what it was") {
  if (!support::can_format_ntfs()) return;
  TestTree base;
  base.make_file("doc", Bytes(2 * kTagBlockBytes + 100, std::byte{7}));
  TestDesktop desktop;
  TestAgent agent(desktop, base);
  const auto extract = [&](const Guid& below) {
    auto frozen = desktop.freeze();
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    return std::pair(frozen.frozen_id, desktop.extract(request));
  };
  agent.load("doc", "", 0, 1 << 20);
  auto [first, sent] = extract({});
  TestTree tree = base;
  tree.apply(sent->batch(), sent->content());
  CHECK(difference(base, tree) == "");
  sent.reset();
  agent.dehydrate("doc");
  auto [second, nothing] = extract(first);
  CHECK(describe(nothing->batch()) == "");
  CHECK(nothing->batch().held_back.empty());
}

TEST_CASE("zeros written after a crash over what was loaded before it are no block that was never loaded") {
  if (!support::can_format_ntfs()) return;
  TestTree base;
  base.make_file("doc", Bytes(2 * kTagBlockBytes + 100, std::byte{7}));
  TestDesktop desktop;
  TestAgent agent(desktop, base);
  agent.load("doc", "", 0, 1 << 20);
  agent.restart();
  agent.write("doc", "", kTagBlockBytes, Bytes(kTagBlockBytes));
  Request request;
  request.frozen_path = desktop.freeze().frozen_path;
  const auto extraction = desktop.extract(request);
  TestTree tree = base;
  tree.apply(extraction->batch(), extraction->content());
  CHECK(all_zero(ByteView(tree.at("doc").streams.at("")).subspan(kTagBlockBytes, kTagBlockBytes)));
}

TEST_CASE("of a file written anew only the pages travel that are not what the journal says the base has") {
  if (!support::can_format_ntfs()) return;
  TestTree base;
  Bytes bytes(6 * kTagBlockBytes + 100);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / 64);
  base.make_file("doc", bytes);
  TestDesktop desktop;
  TestAgent agent(desktop, base);
  agent.load("doc", "", 0, bytes.size());
  agent.truncate("doc", "", 0);  // tells of blocks 1, 3 and 5
  agent.flush_tags();
  bytes[3 * kTagBlockBytes + 5] ^= std::byte{1};
  agent.write("doc", "", 0, bytes);
  Request request;
  request.frozen_path = desktop.freeze().frozen_path;
  const auto extraction = desktop.extract(request);
  CHECK(describe(extraction->batch()) ==
        "put doc kind 0 size 24676 base doc '' 24676: 0+4096 8192+12288 24576+100\n");
  TestTree tree = base;
  tree.apply(extraction->batch(), extraction->content());
  CHECK(tree.at("doc").streams.at("") == bytes);
}

}  // namespace
}  // namespace roamstead::extract
