// Random trees and hives, changed on both sides of a fork: what each side did is found again, and nothing
// else. Every edit writes content of its own, so that content tells where it comes from.
#include <algorithm>
#include <set>

#include "coordinator/repository/merge.h"
#include "coordinator/repository/test_content.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;

namespace {

// Path -> content; folders have none. The root is not in it.
using Model = std::map<std::string, std::optional<std::string>>;

std::string parent_of(const std::string& at) {
  auto slash = at.rfind('/');
  return slash == std::string::npos ? "" : at.substr(0, slash);
}
bool is_within(const std::string& at, const std::string& folder) { return at.starts_with(folder + "/"); }
bool is_folder(const Model& model, const std::string& at) {
  auto found = model.find(at);
  return at.empty() || (found != model.end() && !found->second);
}

class Editor {
 public:
  explicit Editor(std::mt19937_64& random) : random_(random) {}

  void edit(Model& model, int edits) {
    for (int i = 0; i < edits; ++i) {
      std::vector<std::string> folders{""};
      for (auto& [at, content] : model)
        if (!content && std::count(at.begin(), at.end(), '/') < 3) folders.push_back(at);
      auto folder = folders[random_() % folders.size()];
      auto at = (folder.empty() ? "" : folder + "/") + std::string(1, static_cast<char>('a' + random_() % 4));
      auto found = model.find(at);
      switch (random_() % 4) {
        case 0:
          if (found != model.end()) remove(model, at);
          break;
        case 1:
          if (found != model.end() && found->second) remove(model, at);
          model.emplace(at, std::nullopt);
          break;
        default:
          if (found != model.end() && !found->second && random_() % 3 != 0)
            break;  // few folders become files
          remove(model, at);
          model[at] = "content " + std::to_string(++written_);
      }
    }
  }

 private:
  static void remove(Model& model, const std::string& at) {
    std::erase_if(model, [&](const auto& item) { return item.first == at || is_within(item.first, at); });
  }
  std::mt19937_64& random_;
  int written_ = 0;
};

BatchMaker batch_between(const Model& before, const Model& after) {
  BatchMaker maker;
  std::set<std::string> removed;
  for (auto& [at, content] : before) {
    auto found = after.find(at);
    bool goes = found == after.end() || found->second.has_value() != content.has_value();
    bool gone = std::any_of(removed.begin(), removed.end(), [&](auto& each) { return is_within(at, each); });
    if (!goes || gone) continue;
    removed.insert(at);
    maker.remove(at);
  }
  for (auto& [at, content] : after) {
    auto found = before.find(at);
    if (found != before.end() && found->second == content && removed.count(at) == 0 &&
        std::none_of(removed.begin(), removed.end(),
                     [&, &name = at](auto& each) { return is_within(name, each); }))
      continue;
    if (content)
      maker.file(at, *content);
    else
      maker.directory(at);
  }
  return maker;
}

Model read_model(TestRepository& test, std::uint64_t version) {
  Model model;
  auto tree = test.repository->tree(test.profile, version).value();
  std::vector<std::string> open{""};
  while (!open.empty()) {
    auto folder = open.back();
    open.pop_back();
    auto entries = tree->list(path(folder), "", 1000).value();
    for (auto& entry : entries) {
      auto at = (folder.empty() ? "" : folder + "/") + entry.name;
      if (entry.entry.is_directory()) {
        model[at] = std::nullopt;
        open.push_back(at);
      } else {
        model[at] = std::string(as_text(test.read(version, at)));
      }
    }
  }
  return model;
}

// What a path is in one of the three.
std::optional<std::optional<std::string>> at(const Model& model, const std::string& path) {
  auto found = model.find(path);
  return found == model.end() ? std::nullopt : std::optional(found->second);
}

bool below_a_file(const Model& model, std::string path) {
  for (path = parent_of(path); !path.empty(); path = parent_of(path))
    if (model.count(path) != 0 && !is_folder(model, path)) return true;
  return false;
}

void check_merge(const Model& base, const Model& ours, const Model& theirs, const Model& merged,
                 const std::vector<MergeConflict>& conflicts) {
  const auto is_copy = [](const std::string& name) { return name.find("(conflict") != std::string::npos; };
  std::set<std::string> contents;
  for (auto& [name, content] : merged)
    if (content) contents.insert(*content);
  std::set<std::string> all;
  for (auto* model : {&base, &ours, &theirs})
    for (auto& [name, content] : *model) all.insert(name);
  bool any_conflict = false;
  for (auto& name : all) {
    CAPTURE(name);
    auto b = at(base, name), o = at(ours, name), t = at(theirs, name), m = at(merged, name);
    bool only_files = !(b && !*b) && !(o && !*o) && !(t && !*t);
    if (!only_files) continue;
    if (t == b || t == o) {
      CHECK(m == o);
    } else if (o == b) {
      if (t && !below_a_file(ours, name)) CHECK(m == t);
      if (!t && !below_a_file(theirs, name)) CHECK(!m);
    } else {
      any_conflict = true;
      if (o) CHECK(m == o);
      if (!o && t && !below_a_file(ours, name)) CHECK(m == t);
    }
    if (t && t != b) CHECK(contents.count(**t) != 0);  // wherever it is: nothing is lost
    if (o && o != b) CHECK(contents.count(**o) != 0);
  }
  if (any_conflict) CHECK(!conflicts.empty());
  for (auto& [name, content] : merged) {
    CAPTURE(name);
    if (is_copy(name) || !content) continue;
    CHECK((at(ours, name) == std::optional(content) || at(theirs, name) == std::optional(content)));
  }
}

}  // namespace

TEST_CASE("random trees: what each side did is there, and nothing else") {
  std::mt19937_64 random(support::seeded_random()());
  TestRepository test;
  Editor editor(random);
  Model head;
  for (int round = 0; round < 150; ++round) {
    CAPTURE(round);
    Model base;
    editor.edit(base, 25);
    auto first = batch_between(head, base);
    auto number = first.batch.records.empty() ? test.repository->find_profile("alice")->head
                                              : test.commit(first).value().number;
    auto ours = base, theirs = base;
    editor.edit(ours, static_cast<int>(1 + random() % 12));
    editor.edit(theirs, static_cast<int>(1 + random() % 12));
    auto our_batch = batch_between(base, ours), their_batch = batch_between(base, theirs);
    if (their_batch.batch.records.empty()) their_batch.batch.final = true;
    if (our_batch.batch.records.empty()) our_batch.batch.final = true;
    auto fork = test.commit(their_batch, number, {VersionKind::fork, "desk-b", {}, 1}).value().number;
    REQUIRE(test.commit(our_batch));
    auto merged = test.repository->merge(test.profile, fork, false, {});
    REQUIRE_MESSAGE(merged, merged.error().to_string());
    head = read_model(test, merged->version->number);
    check_merge(base, ours, theirs, head, merged->conflicts);
  }
  CHECK(test.repository->check({})->problems.empty());
}

namespace {

constexpr const char* kHive = "NTUSER.DAT";
// "key" -> nothing, "key : value" -> data. The root is not in it.
using HiveModel = std::map<std::string, std::string>;

std::string key_of(const std::string& name) { return name.substr(0, name.find(" : ")); }
bool is_value(const std::string& name) { return name.find(" : ") != std::string::npos; }

void edit_hive(std::mt19937_64& random, HiveModel& model, int edits, int& written) {
  for (int i = 0; i < edits; ++i) {
    std::string key;
    for (auto depth = 1 + random() % 3; depth != 0; --depth) {
      key += (key.empty() ? "" : "\\") + std::string(1, static_cast<char>('a' + random() % 3));
      model.emplace(key, "");
    }
    if (random() % 5 == 0) {
      std::erase_if(model, [&](const auto& item) {
        return key_of(item.first) == key || item.first.starts_with(key + "\\");
      });
      continue;
    }
    auto value = key + " : " + std::string(1, static_cast<char>('u' + random() % 3));
    if (random() % 4 == 0)
      model.erase(value);
    else  // some beyond what lies in a record
      model[value] = "data " + std::to_string(++written) + std::string(random() % 8 == 0 ? 5000 : 0, '.');
  }
}

BatchMaker hive_batch(const HiveModel& before, const HiveModel& after) {
  BatchMaker maker;
  std::set<std::string> removed;
  for (auto& [name, data] : before) {
    if (is_value(name) || after.count(name) != 0) continue;
    if (std::any_of(removed.begin(), removed.end(),
                    [&, &key = name](auto& each) { return key.starts_with(each + "\\"); }))
      continue;
    removed.insert(name);
    maker.batch.records.push_back(profile::DeleteKey{path(kHive), profile::KeyPath::parse(name).value()});
  }
  for (auto& [name, ignored] : after) {
    if (is_value(name)) continue;
    profile::PutKey put{path(kHive), profile::KeyPath::parse(name).value(), {}, false, {}, {}};
    for (auto& [value, data] : after) {
      if (!is_value(value) || key_of(value) != name) continue;
      auto old = before.find(value);
      if (old != before.end() && old->second == data) continue;
      profile::RegistryValue made{value.substr(value.size() - 1), 3, data.size(), {}};
      if (made.is_inline())
        made.data = to_bytes(data);
      else
        maker.content.streams[{maker.batch.records.size(), put.values.size()}] = to_bytes(data);
      put.values.push_back(made);
    }
    for (auto& [value, data] : before)
      if (is_value(value) && key_of(value) == name && after.count(value) == 0)
        put.deleted_values.push_back(value.substr(value.size() - 1));
    if (before.count(name) == 0 || !put.values.empty() || !put.deleted_values.empty())
      maker.batch.records.push_back(put);
  }
  return maker;
}

HiveModel read_hive(TestRepository& test, std::uint64_t version) {
  HiveModel model;
  auto tree = test.repository->tree(test.profile, version).value();
  for (std::string cursor;;) {
    auto part = tree->keys(path(kHive), {}, profile::KeyScope::subtree, cursor, 1u << 20).value();
    for (auto& key : part.keys) {
      if (key.path.is_root()) continue;
      model[key.path.text()] = "";
      for (auto& value : key.values) {
        Bytes data(static_cast<std::size_t>(value.size_bytes));
        REQUIRE(tree->read_value(path(kHive), key.path, value.name, 0, data));
        model[key.path.text() + " : " + value.name] = std::string(as_text(data));
      }
    }
    cursor = part.next;
    if (cursor.empty()) return model;
  }
}

void check_hive_merge(const HiveModel& base, const HiveModel& ours, const HiveModel& theirs,
                      const HiveModel& merged) {
  const auto get = [](const HiveModel& model, const std::string& name) {
    auto found = model.find(name);
    return found == model.end() ? std::nullopt : std::optional(found->second);
  };
  std::set<std::string> contents, all;
  for (auto& [name, data] : merged) contents.insert(data);
  for (auto* model : {&base, &ours, &theirs})
    for (auto& [name, data] : *model) all.insert(name);
  for (auto& name : all) {
    CAPTURE(name);
    auto b = get(base, name), o = get(ours, name), t = get(theirs, name), m = get(merged, name);
    if (!is_value(name)) {  // a key is there when one side wants it or has something in it
      if (t == b) CHECK((m == o || (t && !o)));
      if (o && t) CHECK(m);
      bool ours_in_it = std::any_of(ours.begin(), ours.end(), [&, &key = name](const auto& item) {
        bool within = key_of(item.first) == key || item.first.starts_with(key + "\\");
        return within && get(base, item.first) != std::optional(item.second);
      });
      if (b && !t && !ours_in_it) CHECK(!m);
      continue;
    }
    if (t == b || t == o)
      CHECK(m == o);
    else if (o == b)
      CHECK(m == t);
    else
      CHECK(m == (o ? o : t));
    if (t && t != b) CHECK(contents.count(*t) != 0);
    if (o && o != b) CHECK(contents.count(*o) != 0);
  }
  for (auto& [name, data] : merged) {
    CAPTURE(name);
    if (name.starts_with("Software")) continue;  // where losers are
    CHECK((get(ours, name) == data || get(theirs, name) == data));
  }
}

}  // namespace

TEST_CASE("random hives: what each side did is there, and nothing else") {
  auto random = support::seeded_random();
  TestRepository test;
  BatchMaker start;
  start.directory(kHive).entry.kind = profile::EntryKind::registry;
  REQUIRE(test.commit(start));
  HiveModel head;
  int written = 0;
  for (int round = 0; round < 120; ++round) {
    CAPTURE(round);
    HiveModel base;
    edit_hive(random, base, 15, written);
    auto first = hive_batch(head, base);
    REQUIRE(test.commit(first));
    auto number = test.repository->find_profile("alice")->head;
    auto ours = base, theirs = base;
    edit_hive(random, ours, static_cast<int>(1 + random() % 8), written);
    edit_hive(random, theirs, static_cast<int>(1 + random() % 8), written);
    auto our_batch = hive_batch(base, ours), their_batch = hive_batch(base, theirs);
    our_batch.batch.final = their_batch.batch.final = true;
    auto fork = test.commit(their_batch, number, {VersionKind::fork, "desk-b", {}, 1}).value().number;
    REQUIRE(test.commit(our_batch));
    auto merged = test.repository->merge(test.profile, fork, false, {});
    REQUIRE_MESSAGE(merged, merged.error().to_string());
    head = read_hive(test, merged->version->number);
    check_hive_merge(base, ours, theirs, head);
  }
}
