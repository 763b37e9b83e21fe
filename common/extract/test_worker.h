// Random programs for tests: what they do is done to a volume, and to the tree that is expected of it.
#pragma once

#include <algorithm>
#include <functional>
#include <random>

#include "common/extract/selection.h"
#include "common/extract/test_agent.h"

namespace roamstead::extract {

inline constexpr std::uint64_t kFirstTime = 130'000'000'000'000'000;
inline const std::vector<std::string> kStreams = {"", "s1", "s2"};

// Does everything twice: to the volume by way of `programs`, and to the tree it expects.
class Worker {
 public:
  Worker(TestPrograms& programs, TestTree& expected, std::mt19937_64& random)
      : programs_(programs), expected_(expected), random_(random) {}

  // Renames that are not allowed are not made.
  std::function<bool(const std::string& from, const std::string& to)> may_rename;

  void step() {
    switch (below(16)) {
      case 0:
      case 1:
        return create_file();
      case 2:
        return create_directory();
      case 3:
      case 4:
      case 5:
        return write();
      case 6:
        return truncate();
      case 7:
        return rename(random_path(false), free_path());
      case 8:
        return rename(random_path(true), free_path());
      case 9:
        return swap();
      case 10:
        return below(2) == 0 ? save_by_rename() : save_in_place();
      case 11:
        return remove_tree(random_path(false));
      case 12:
        if (below(4) == 0) remove_tree(random_path(true));
        return;
      case 13:
        return add_or_remove_stream();
      case 14:
        return metadata();
      case 15:
        return replace();
    }
  }

  static Bytes content(std::mt19937_64& random, std::size_t size) {
    Bytes bytes(size);
    for (std::size_t at = 0; at < size; at += kTagBlockBytes) {
      if (random() % 5 == 0) continue;  // a block of zeros
      auto value = random();
      for (auto i = at; i < std::min(size, at + kTagBlockBytes); ++i) {
        bytes[i] = static_cast<std::byte>(value >> 56);
        value = value * 6364136223846793005 + 1442695040888963407;
      }
    }
    return bytes;
  }
  static std::size_t some_size(std::mt19937_64& random) {
    switch (random() % 4) {
      case 0:
        return random() % 500;
      case 1:
        return random() % 5 * kTagBlockBytes;
      default:
        return random() % 50'000;
    }
  }
  // "" when there is none.
  std::string random_path(bool directory) {
    std::vector<std::string> paths;
    collect("", expected_.root(), directory, paths);
    return paths.empty() ? "" : paths[below(paths.size())];
  }

 private:
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }

  static void collect(const std::string& path, const TestNode& node, bool directory,
                      std::vector<std::string>& paths) {
    for (const auto& [name, child] : node.children) {
      const auto below_path = path.empty() ? name : path + "/" + name;
      if (child->is_directory() == directory) paths.push_back(below_path);
      collect(below_path, *child, directory, paths);
    }
  }

  std::string free_path() {
    for (;;) {
      auto directory = below(3) == 0 ? std::string() : random_path(true);
      static const char* const kNames[] = {"a", "b", "c", "doc", "Ünï", "long name with spaces.txt", "x.tmp"};
      auto path = (directory.empty() ? "" : directory + "/") + std::string(kNames[below(7)]);
      if (below(2) == 0) path += std::to_string(below(1000));
      if (expected_.find(path) == nullptr) return path;
    }
  }

  // Gives what was just made or written definite times, on both sides.
  void stamp(const std::string& path, bool created) {
    auto& metadata = expected_.at(path).entry.metadata;
    metadata.attributes = programs_.attributes(path);
    if (created) metadata.created_100ns = ++clock_;
    metadata.written_100ns = ++clock_;
    programs_.set_metadata(path, metadata);
  }

  void create_file() { create_file_at(free_path(), some_size(random_)); }
  void create_file_at(const std::string& path, std::size_t size) {
    const auto bytes = content(random_, size);
    programs_.write(path, "", 0, bytes);
    expected_.make_file(path, bytes);
    stamp(path, true);
  }
  void create_directory() {
    const auto path = free_path();
    programs_.make_directory(path);
    expected_.make_directory(path);
    stamp(path, true);
  }

  void write() {
    const auto path = random_path(false);
    if (path.empty()) return;
    auto& node = expected_.at(path);
    auto stream = std::next(node.streams.begin(), static_cast<std::ptrdiff_t>(below(node.streams.size())));
    auto& bytes = stream->second;
    const auto offset = below(4) == 0 ? bytes.size() + below(20'000) : below(bytes.size() + 1);
    auto data = content(random_, below(3) == 0 ? 1 + below(100) : 1 + below(12'000));
    if (below(6) == 0 && offset < bytes.size())  // the same bytes again
      data.assign(bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                  bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), offset + data.size())));
    programs_.write(path, stream->first, offset, data);
    bytes.resize(std::max(bytes.size(), offset + data.size()));
    std::copy(data.begin(), data.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    stamp(path, false);
  }

  void truncate() {
    const auto path = random_path(false);
    if (path.empty()) return;
    auto& bytes = expected_.at(path).streams.at("");
    const auto resize = [&](std::size_t size) {
      programs_.truncate(path, "", size);
      bytes.resize(size);
    };
    resize(below(3) == 0 ? bytes.size() + below(30'000) : below(bytes.size() + 1));
    if (below(3) == 0) resize(bytes.size() + below(30'000));
    stamp(path, false);
  }

  void rename(const std::string& from, const std::string& to) {
    if (from.empty() || (to + "/").rfind(from + "/", 0) == 0) return;
    if (may_rename && !may_rename(from, to)) return;
    programs_.rename(from, to);
    expected_.put(to, expected_.take(from));
  }
  void swap() {
    const bool directories = below(3) == 0 && !may_rename;
    const auto a = random_path(directories), b = random_path(directories);
    if (a.empty() || b.empty() || a == b || (a + "/").rfind(b + "/", 0) == 0 ||
        (b + "/").rfind(a + "/", 0) == 0)
      return;
    const auto between = "swap " + std::to_string(++clock_);  // a kill may leave it behind
    rename(a, between);
    rename(b, a);
    rename(between, b);
  }
  // As most programs save: cut to nothing and written anew, most of it as it was.
  void save_in_place() {
    const auto path = random_path(false);
    if (path.empty()) return;
    auto bytes = expected_.at(path).streams.at("");
    if (!bytes.empty()) bytes[below(bytes.size())] ^= std::byte{0x55};
    if (below(2) == 0) bytes.resize(below(2) == 0 ? bytes.size() + below(9000) : below(bytes.size() + 1));
    programs_.truncate(path, "", 0);
    programs_.write(path, "", 0, bytes);
    expected_.at(path).streams.at("") = bytes;
    stamp(path, false);
  }
  void save_by_rename() {
    const auto path = random_path(false);
    if (path.empty()) return;
    auto bytes = expected_.at(path).streams.at("");
    if (!bytes.empty()) bytes[below(bytes.size())] ^= std::byte{0x55};
    if (below(2) == 0) bytes.resize(bytes.size() + below(9000), std::byte{1});
    const auto saved = free_path();
    programs_.write(saved, "", 0, bytes);
    expected_.make_file(saved, bytes);
    stamp(saved, true);
    const bool keep = below(3) == 0;
    const auto backup = free_path();
    if (keep)
      rename(path, backup);
    else
      remove_tree(path);
    rename(saved, path);
  }
  void replace() {
    const auto path = random_path(false), other = random_path(false);
    if (path.empty() || path == other) return;
    remove_tree(path);
    if (below(2) == 0)
      rename(other, path);
    else
      create_file_at(path, some_size(random_));
  }

  void remove_tree(const std::string& path) {
    if (path.empty()) return;
    std::vector<std::string> names;
    for (const auto& [name, child] : expected_.at(path).children) names.push_back(name);
    for (const auto& name : names) remove_tree(path + "/" + name);
    programs_.remove(path);
    expected_.take(path);
  }

  void add_or_remove_stream() {
    const auto path = random_path(false);
    if (path.empty()) return;
    const auto& name = kStreams[1 + below(2)];
    auto& streams = expected_.at(path).streams;
    if (streams.count(name) != 0) {
      programs_.remove_stream(path, name);
      streams.erase(name);
      if (below(2) == 0) return stamp(path, false);
    }
    auto bytes = content(random_, some_size(random_));
    programs_.write(path, name, 0, bytes);
    streams[name] = std::move(bytes);
    stamp(path, false);
  }

  void metadata() {
    const auto path = random_path(below(3) == 0);
    if (path.empty()) return;
    auto metadata = expected_.at(path).entry.metadata;
    const auto old = metadata.attributes;
    metadata.attributes = static_cast<std::uint32_t>(random_()) & profile::kRoamingAttributes;
    // Gaining the archive attribute alone is not a change, by rule; so it comes with a time.
    const bool gained = (metadata.attributes & ~old & profile::kAttributeArchive) != 0;
    if (gained || below(2) == 0) metadata.written_100ns = ++clock_;
    const bool directory = expected_.at(path).entry.is_directory();  // whose write time is no change either
    if ((gained && directory) || below(3) == 0) metadata.created_100ns = ++clock_;
    programs_.set_metadata(path, metadata);
    expected_.at(path).entry.metadata = metadata;
  }

  TestPrograms& programs_;
  TestTree& expected_;
  std::mt19937_64& random_;
  std::uint64_t clock_ = kFirstTime;
};

// A base version as another desktop left it.
inline TestTree random_base(std::mt19937_64& random) {
  TestTree base;
  std::uint64_t clock = kFirstTime / 2;
  std::vector<std::string> directories = {""};
  const auto settle_metadata = [&](TestNode& node) {
    node.entry.metadata.created_100ns = ++clock;
    node.entry.metadata.written_100ns = ++clock;
    node.entry.metadata.attributes = static_cast<std::uint32_t>(random()) & profile::kRoamingAttributes;
  };
  for (int i = 0; i < 60; ++i) {
    const auto& parent = directories[random() % directories.size()];
    const auto path = (parent.empty() ? "" : parent + "/") + "base" + std::to_string(i);
    if (random() % 4 == 0) {
      settle_metadata(base.make_directory(path));
      directories.push_back(path);
      continue;
    }
    auto& file = base.make_file(path, Worker::content(random, Worker::some_size(random)));
    if (random() % 5 == 0) file.streams["s1"] = Worker::content(random, Worker::some_size(random));
    settle_metadata(file);
  }
  base.settle();
  return base;
}

// Puts what a rule's border may come between on the desktop first, as agents see to.
class LoadingPrograms final : public TestPrograms {
 public:
  LoadingPrograms(TestAgent& agent, TestTree& expected) : agent_(agent), expected_(expected) {}
  void make_directory(const std::string& path) override { agent_.make_directory(path); }
  void write(const std::string& path, const std::string& stream, std::uint64_t offset,
             ByteView data) override {
    agent_.write(path, stream, offset, data);
  }
  void truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) override {
    agent_.truncate(path, stream, size_bytes);
  }
  void remove(const std::string& path) override { agent_.remove(path); }
  void remove_stream(const std::string& path, const std::string& stream) override {
    agent_.remove_stream(path, stream);
  }
  void rename(const std::string& from, const std::string& to) override {
    load_all(from, expected_.at(from));
    agent_.flush_tags();
    agent_.rename(from, to);
  }
  void set_metadata(const std::string& path, const profile::Metadata& metadata) override {
    agent_.set_metadata(path, metadata);
  }
  std::uint32_t attributes(const std::string& path) override { return agent_.attributes(path); }

 private:
  void load_all(const std::string& path, const TestNode& node) {
    if (node.is_directory()) agent_.populate(path);
    for (const auto& [name, bytes] : node.streams) agent_.load(path, name, 0, std::uint64_t{1} << 30);
    for (const auto& [name, child] : node.children) load_all(path + "/" + name, *child);
  }
  TestAgent& agent_;
  TestTree& expected_;
};

// Rules about what is there, and about names that programs use.
inline profile::Rules random_rules(std::mt19937_64& random, TestTree& base) {
  std::vector<std::string> patterns{"**/*.tmp", "**/doc*", "a/**", "b", "**/c/**/a*"};
  for (const auto& [path, text] : base.describe())
    if (!path.empty()) patterns.push_back(path);
  constexpr profile::RuleAction kActions[] = {profile::RuleAction::exclude, profile::RuleAction::at_logout,
                                              profile::RuleAction::local_only, profile::RuleAction::include,
                                              profile::RuleAction::at_logout};
  std::vector<profile::Rule> rules;
  for (auto count = 1 + random() % 12; count > 0; --count)
    rules.push_back(
        {kActions[random() % 5], patterns[random() % patterns.size()], {}, profile::kAnySize, ""});
  return profile::Rules::make(rules).value();
}

// The part of a tree that a snapshot's batch is about.
inline std::map<std::string, std::string> selected(TestTree& tree, const Selection& selection) {
  auto all = tree.describe();
  std::erase_if(all, [&](const auto& each) {
    if (each.first.empty()) return true;
    const auto whole = profile::ProfilePath::parse(each.first).value();
    const auto components = whole.components();
    std::string path;
    for (std::size_t i = 0; i < components.size(); ++i) {
      path += (i == 0 ? "" : "/") + std::string(components[i]);
      if (selection.leaves_out(path, i + 1 < components.size() || tree.at(path).is_directory())) return true;
    }
    return false;
  });
  return all;
}

// Zeros of a base whose tag was lost pass for not loaded, and so cannot be brought to where there is no base.
inline void fill_zeros(TestNode& node) {
  for (auto& [name, bytes] : node.streams)
    std::replace(bytes.begin(), bytes.end(), std::byte{0}, std::byte{1});
  for (auto& [name, child] : node.children) fill_zeros(*child);
}

}  // namespace roamstead::extract
